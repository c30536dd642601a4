//! Input items of the Responses API as messages of chat completions.

use std::sync::Arc;

use serde_json::{json, value::RawValue};

use super::{
    refuse::{object, untranslatable},
    tools::{CUSTOM_INPUT, flat_name},
};
use crate::{
    json::{self, Fields},
    llm::{Dialect, LlmError, Message, Messages, Role, body::raw},
};

/// The messages of a chat completion. The items of one turn of the model (reasoning, text and calls) are
/// one message there.
pub(super) struct Conversation {
    /// The provider's own dialect.
    target: Dialect,
    messages: Vec<Message>,
    /// The turn of the model that is being collected.
    turn: Option<Turn>,
    /// Images of tool results that wait for the next message of the user: in chat completions, a tool's
    /// result has only text, and nothing may stand between the results of one turn.
    images: Vec<Arc<RawValue>>,
}

#[derive(Default)]
struct Turn {
    texts: Vec<String>,
    reasoning: Vec<String>,
    calls: Vec<Arc<RawValue>>,
}

impl Conversation {
    pub(super) const fn new(target: Dialect) -> Self {
        Self { target, messages: Vec::new(), turn: None, images: Vec::new() }
    }

    /// Adds an input item, or a message of this server.
    pub(super) fn push(&mut self, message: &Message) -> Result<(), LlmError> {
        let Some(item) = message.parts() else {
            if message.role == Role::Assistant {
                self.turn().texts.push(message.text.clone());
                return Ok(());
            }
            self.end_turn()?;
            return self.push_text(message.role, message.text.clone());
        };
        let item: Fields = object(item, "an input item that is not an object")?;
        let kind: Option<String> = item.read("type").ok().flatten();
        match kind.as_deref() {
            Some("message") | None => self.push_message(message, &item),
            Some("function_call") => {
                let arguments = text(&item, "arguments")?;
                self.push_call(&item, &arguments)
            }
            Some("custom_tool_call") => {
                let arguments = json!({ CUSTOM_INPUT: text(&item, "input")? }).to_string();
                self.push_call(&item, &arguments)
            }
            Some("function_call_output" | "custom_tool_call_output") => self.push_result(&item),
            Some("reasoning") => {
                self.push_reasoning(&item);
                Ok(())
            }
            Some(kind) => Err(untranslatable(item_name(kind))),
        }
    }

    /// All messages.
    pub(super) fn end(mut self) -> Result<Messages, LlmError> {
        self.end_turn()?;
        self.end_images()?;
        Ok(self.messages.into())
    }

    fn turn(&mut self) -> &mut Turn {
        self.turn.get_or_insert_default()
    }

    fn push_message(&mut self, message: &Message, item: &Fields) -> Result<(), LlmError> {
        let content = item.get("content").ok_or(untranslatable("a message without content"))?;
        if message.role == Role::Assistant {
            let texts = assistant_texts(content)?;
            self.turn().texts.extend(texts);
            return Ok(());
        }
        self.end_turn()?;
        if content.get().starts_with('"') {
            return self.push_text(message.role, message.text.clone());
        }
        let given: Vec<Fields> =
            json::read(content).map_err(|_| untranslatable("the content of a message"))?;
        if let ([part], true) = (given.as_slice(), self.images.is_empty())
            && is_text(part)
        {
            return self.push_text(message.role, text(part, "text")?);
        }
        let mut parts = std::mem::take(&mut self.images);
        for part in &given {
            parts.push(self::part(part)?);
        }
        self.push_parts(message.role, message.text.clone(), &parts)
    }

    fn push_text(&mut self, role: Role, text: String) -> Result<(), LlmError> {
        if role != Role::User || self.images.is_empty() {
            self.messages.push(Message::text(role, text));
            return Ok(());
        }
        let mut parts = std::mem::take(&mut self.images);
        parts.push(raw(&json!({ "type": "text", "text": text }))?);
        self.push_parts(role, text, &parts)
    }

    fn push_parts(
        &mut self,
        role: Role,
        text: String,
        parts: &[Arc<RawValue>],
    ) -> Result<(), LlmError> {
        let parts: Vec<&RawValue> = parts.iter().map(AsRef::as_ref).collect();
        let mut message = Fields::default();
        message.insert("role", raw(&role)?);
        message.insert("content", raw(&parts)?);
        self.messages.push(Message { role, text, raw: Some(raw(&message)?) });
        Ok(())
    }

    fn push_call(&mut self, item: &Fields, arguments: &str) -> Result<(), LlmError> {
        let namespace: Option<String> = item.read("namespace").ok().flatten();
        let name = flat_name(namespace.as_deref(), &text(item, "name")?);
        let call = raw(&json!({
            "id": text(item, "call_id")?,
            "type": "function",
            "function": { "name": name, "arguments": arguments },
        }))?;
        self.turn().calls.push(call);
        Ok(())
    }

    fn push_reasoning(&mut self, item: &Fields) {
        for list in ["content", "summary"] {
            let parts: Option<Vec<Fields>> = item.read(list).ok().flatten();
            let texts: Vec<String> = parts
                .into_iter()
                .flatten()
                .filter_map(|part| part.read("text").ok().flatten())
                .collect();
            if !texts.is_empty() {
                self.turn().reasoning.extend(texts);
                return;
            }
        }
    }

    fn push_result(&mut self, item: &Fields) -> Result<(), LlmError> {
        self.end_turn()?;
        let id = text(item, "call_id")?;
        let output = item.get("output").ok_or(untranslatable("a tool result without output"))?;
        let (content, text) = self.result_content(output)?;
        let mut message = Fields::default();
        message.insert("role", raw(&Role::Tool)?);
        message.insert("tool_call_id", raw(&id)?);
        message.insert("content", content);
        self.messages.push(Message { role: Role::Tool, text, raw: Some(raw(&message)?) });
        Ok(())
    }

    /// The content of a tool's result, and its text.
    fn result_content(
        &mut self,
        output: &Arc<RawValue>,
    ) -> Result<(Arc<RawValue>, String), LlmError> {
        if output.get().starts_with('"') {
            let text = json::read(output).map_err(|_| untranslatable("a tool result"))?;
            return Ok((Arc::clone(output), text));
        }
        let Ok(given) = json::read::<Vec<Fields>>(output) else {
            // some clients send an object: its text is the result
            return Ok((raw(output.get())?, output.get().to_owned()));
        };
        let (mut parts, mut texts) = (Vec::new(), Vec::new());
        for part in &given {
            if is_text(part) {
                texts.push(text(part, "text")?);
            } else if self.target != Dialect::Anthropic {
                self.images.push(self::part(part)?);
                continue;
            }
            parts.push(self::part(part)?);
        }
        let text = texts.join("\n");
        if parts.len() == texts.len() {
            return Ok((raw(&text)?, text));
        }
        let parts: Vec<&RawValue> = parts.iter().map(AsRef::as_ref).collect();
        Ok((raw(&parts)?, text))
    }

    /// Ends the turn of the model, if one is open.
    fn end_turn(&mut self) -> Result<(), LlmError> {
        let Some(Turn { texts, reasoning, calls }) = self.turn.take() else { return Ok(()) };
        if texts.is_empty() && calls.is_empty() {
            return Ok(());
        }
        self.end_images()?;
        let text = texts.join("\n");
        if calls.is_empty() {
            self.messages.push(Message::text(Role::Assistant, text));
            return Ok(());
        }
        let mut message = Fields::default();
        message.insert("role", raw(&Role::Assistant)?);
        message.insert("content", raw(&(!text.is_empty()).then_some(&text))?);
        // servers that show it expect it back within a loop of tool calls
        if !reasoning.is_empty() {
            message.insert("reasoning_content", raw(&reasoning.join("\n"))?);
        }
        let calls: Vec<&RawValue> = calls.iter().map(AsRef::as_ref).collect();
        message.insert("tool_calls", raw(&calls)?);
        self.messages.push(Message { role: Role::Assistant, text, raw: Some(raw(&message)?) });
        Ok(())
    }

    /// The waiting images as a message of the user.
    fn end_images(&mut self) -> Result<(), LlmError> {
        let images = std::mem::take(&mut self.images);
        if images.is_empty() {
            return Ok(());
        }
        self.push_parts(Role::User, String::new(), &images)
    }
}

/// The texts of a message of the model.
fn assistant_texts(content: &RawValue) -> Result<Vec<String>, LlmError> {
    if content.get().starts_with('"') {
        let text = json::read(content).map_err(|_| untranslatable("the content of a message"))?;
        return Ok(vec![text]);
    }
    let parts: Vec<Fields> =
        json::read(content).map_err(|_| untranslatable("the content of a message"))?;
    let text_of = |part: &Fields| match kind(part).as_deref() {
        Some("refusal") => text(part, "refusal"),
        _ if is_text(part) => text(part, "text"),
        _ => Err(untranslatable("a message of the model with more than text")),
    };
    parts.iter().map(text_of).collect()
}

fn kind(part: &Fields) -> Option<String> {
    part.read("type").ok().flatten()
}

fn is_text(part: &Fields) -> bool {
    matches!(kind(part).as_deref(), Some("input_text" | "output_text" | "text"))
}

/// A part of a message in the form of chat completions.
fn part(part: &Fields) -> Result<Arc<RawValue>, LlmError> {
    match kind(part).as_deref() {
        _ if is_text(part) => raw(&json!({ "type": "text", "text": text(part, "text")? })),
        Some("input_image") => {
            let mut image = Fields::default();
            let url = part.get("image_url").filter(|url| !json::is_null(url));
            let url = url.ok_or(untranslatable("an image that is a file of the provider"))?;
            image.insert("url", Arc::clone(url));
            if let Some(detail) = part.get("detail").filter(|detail| !json::is_null(detail)) {
                image.insert("detail", Arc::clone(detail));
            }
            let mut form = Fields::default();
            form.insert("type", raw("image_url")?);
            form.insert("image_url", raw(&image)?);
            raw(&form)
        }
        Some("input_audio") => raw(part),
        Some("input_file") => {
            let data = part.get("file_data").filter(|data| !json::is_null(data));
            let data = data.ok_or(untranslatable("a file that is not in the request"))?;
            let mut file = Fields::default();
            if let Some(name) = part.get("filename").filter(|name| !json::is_null(name)) {
                file.insert("filename", Arc::clone(name));
            }
            file.insert("file_data", Arc::clone(data));
            let mut form = Fields::default();
            form.insert("type", raw("file")?);
            form.insert("file", raw(&file)?);
            raw(&form)
        }
        _ => Err(untranslatable("a part of this type in a message")),
    }
}

fn text(item: &Fields, name: &'static str) -> Result<String, LlmError> {
    item.read(name).ok().flatten().ok_or(untranslatable("an input item without a required text"))
}

/// The name of a type of input items that chat completions do not have.
fn item_name(kind: &str) -> &'static str {
    match kind {
        "item_reference" => "the input item item_reference",
        "web_search_call" => "the input item web_search_call",
        "file_search_call" => "the input item file_search_call",
        "computer_call" | "computer_call_output" => "the input item computer_call",
        "image_generation_call" => "the input item image_generation_call",
        "code_interpreter_call" => "the input item code_interpreter_call",
        "local_shell_call" | "local_shell_call_output" => "the input item local_shell_call",
        "shell_call" | "shell_call_output" => "the input item shell_call",
        "apply_patch_call" | "apply_patch_call_output" => "the input item apply_patch_call",
        "mcp_list_tools" | "mcp_approval_request" | "mcp_approval_response" | "mcp_call" => {
            "the input item mcp_call"
        }
        "compaction" => "the input item compaction",
        _ => "an input item of this type",
    }
}
