//! Tools of the Responses API as tools of chat completions.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::refuse::{object, untranslatable};
use crate::{
    json::{self, Fields},
    llm::{LlmError, body::raw},
};

/// The parameter of a function that stands for a custom tool: the tool's free text.
pub(super) const CUSTOM_INPUT: &str = "input";

/// The types of the search of the web.
const SEARCH: [&str; 4] =
    ["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"];

/// A tool of chat completions.
pub(super) struct ChatTool {
    pub(super) name: String,
    pub(super) json: Arc<RawValue>,
}

/// The choice of tools.
pub(super) struct Choice {
    pub(super) json: Arc<RawValue>,
    /// The names of the only tools that the model may call.
    pub(super) allowed: Option<Vec<String>>,
}

/// The tools of a request.
pub(super) struct Tools {
    pub(super) tools: Vec<ChatTool>,
    /// True if the search of the web was left out.
    pub(super) lacks_search: bool,
}

/// The tools of a request. Agents offer the provider's search beside their own tools, and do without it;
/// a request with no other tool depends on it.
pub(super) fn tools(given: &Fields) -> Result<Tools, LlmError> {
    let given: Option<Vec<Fields>> =
        given.read("tools").map_err(|_| untranslatable("the field tools"))?;
    let (mut tools, mut lacks_search) = (Vec::new(), false);
    for tool in given.into_iter().flatten() {
        match kind(&tool).as_deref() {
            Some("namespace") => push_namespace(&mut tools, &tool)?,
            Some(kind) if SEARCH.contains(&kind) => lacks_search = true,
            _ => tools.push(self::tool(tool)?),
        }
    }
    if lacks_search && tools.is_empty() {
        return Err(untranslatable("the built-in tool web_search"));
    }
    Ok(Tools { tools, lacks_search })
}

/// The tools in a namespace, each with the name of the namespace before its own.
fn push_namespace(tools: &mut Vec<ChatTool>, namespace: &Fields) -> Result<(), LlmError> {
    let name = text(namespace, "name").unwrap_or_default();
    let inner: Option<Vec<Fields>> = namespace.read("tools").ok().flatten();
    for mut tool in inner.into_iter().flatten() {
        let flat_name = flat_name(Some(&name), &text(&tool, "name").unwrap_or_default());
        tool.insert("name", raw(&flat_name)?);
        tools.push(self::tool(tool)?);
    }
    Ok(())
}

/// The name of a tool without its namespace, which chat completions do not have.
pub(super) fn flat_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}__{name}"),
        None => name.to_owned(),
    }
}

/// A tool of a request, as its calls name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTool {
    /// The name in chat completions.
    pub flat_name: String,
    /// The namespace.
    pub namespace: Option<String>,
    /// The name within the namespace.
    pub name: String,
    /// True if the tool takes a free text.
    pub is_custom: bool,
}

/// The tools of a request whose calls have another form in chat completions.
pub fn renamed_tools(fields: &Fields) -> Vec<NamedTool> {
    let tools: Option<Vec<Fields>> = fields.read("tools").ok().flatten();
    let mut named = Vec::new();
    for tool in tools.iter().flatten() {
        let name = text(tool, "name").unwrap_or_default();
        match kind(tool).as_deref() {
            Some("custom") => named.push(NamedTool {
                flat_name: name.clone(),
                namespace: None,
                name,
                is_custom: true,
            }),
            Some("namespace") => {
                let inner: Option<Vec<Fields>> = tool.read("tools").ok().flatten();
                named.extend(inner.iter().flatten().map(|tool| {
                    let inner = text(tool, "name").unwrap_or_default();
                    NamedTool {
                        flat_name: flat_name(Some(&name), &inner),
                        namespace: Some(name.clone()),
                        name: inner,
                        is_custom: kind(tool).as_deref() == Some("custom"),
                    }
                }));
            }
            _ => {}
        }
    }
    named
}

fn kind(tool: &Fields) -> Option<String> {
    text(tool, "type")
}

fn text(tool: &Fields, name: &str) -> Option<String> {
    tool.read(name).ok().flatten()
}

fn tool(mut tool: Fields) -> Result<ChatTool, LlmError> {
    match (kind(&tool).as_deref(), text(&tool, "name")) {
        (Some("function"), Some(name)) => {
            tool.retain(|field, value| {
                matches!(field, "name" | "description" | "parameters" | "strict")
                    && !json::is_null(value)
            });
            function(name, &tool)
        }
        (Some("custom"), Some(name)) => custom(name, &tool),
        (Some("function" | "custom"), None) => Err(untranslatable("a tool without a name")),
        (Some("file_search"), _) => Err(untranslatable("the built-in tool file_search")),
        (Some("code_interpreter"), _) => Err(untranslatable("the built-in tool code_interpreter")),
        (Some("image_generation"), _) => Err(untranslatable("the built-in tool image_generation")),
        (Some("local_shell" | "shell"), _) => Err(untranslatable("the built-in tool shell")),
        (Some("mcp"), _) => Err(untranslatable("the built-in tool mcp")),
        _ => Err(untranslatable("a tool of a type other than function and custom")),
    }
}

fn function(name: String, function: &Fields) -> Result<ChatTool, LlmError> {
    let mut tool = Fields::default();
    tool.insert("type", raw("function")?);
    tool.insert("function", raw(function)?);
    Ok(ChatTool { name, json: raw(&tool)? })
}

/// A custom tool takes a free text: as a function, it has one parameter. Its grammar becomes a part of
/// the description, because only a provider of this dialect enforces it.
fn custom(name: String, tool: &Fields) -> Result<ChatTool, LlmError> {
    let mut description: String = tool.read("description").ok().flatten().unwrap_or_default();
    let format: Option<Value> = tool.read("format").ok().flatten();
    let text = |name: &str| format.as_ref().and_then(|format| format[name].as_str());
    if let Some(definition) = text("definition") {
        let syntax = text("syntax").unwrap_or("lark");
        description =
            format!("{description}\n\nThe input follows this {syntax} grammar:\n{definition}");
    }
    let parameters = json!({
        "type": "object",
        "properties": { CUSTOM_INPUT: { "type": "string" } },
        "required": [CUSTOM_INPUT],
        "additionalProperties": false,
    });
    let mut form = Fields::default();
    form.insert("name", raw(&name)?);
    if !description.is_empty() {
        form.insert("description", raw(&description)?);
    }
    form.insert("parameters", raw(&parameters)?);
    function(name, &form)
}

/// The text for a custom tool in the arguments of the function that stands for it.
pub fn custom_input(arguments: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(arguments).ok();
    let input = parsed.as_ref().and_then(|arguments| arguments[CUSTOM_INPUT].as_str());
    // arguments of another form are passed on as they are
    input.unwrap_or(arguments).to_owned()
}

/// The field `tool_choice`.
pub(super) fn choice(choice: &Arc<RawValue>) -> Result<Choice, LlmError> {
    if choice.get().starts_with('"') {
        return Ok(Choice { json: Arc::clone(choice), allowed: None });
    }
    let choice: Fields = object(choice, "the field tool_choice")?;
    match (kind(&choice).as_deref(), text(&choice, "name")) {
        (Some("function" | "custom"), Some(name)) => {
            let json = raw(&json!({ "type": "function", "function": { "name": name } }))?;
            Ok(Choice { json, allowed: None })
        }
        (Some("allowed_tools"), _) => {
            #[derive(Deserialize)]
            struct Named {
                name: String,
            }
            let named: Option<Vec<Named>> = choice.read("tools").ok().flatten();
            let named = named.ok_or(untranslatable("a tool_choice of tools without names"))?;
            let mode: Option<String> = choice.read("mode").ok().flatten();
            let json = raw(mode.as_deref().unwrap_or("auto"))?;
            Ok(Choice { json, allowed: Some(named.into_iter().map(|tool| tool.name).collect()) })
        }
        _ => Err(untranslatable("a tool_choice of this type")),
    }
}
