//! Parses the requests of `OpenAI`'s clients.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    domain::confidence::is_blank,
    engine::{Chat, StepRequest},
    http::{Code, Problem, v1::bounds},
    llm::{Dialect, Extra, Message, Role},
};

/// Upper bound of the messages of a chat.
pub(crate) const MESSAGES_MAX: usize = 2_048;
/// Upper bound of `max_tokens`. The phase of the engine may lower it.
pub(crate) const MAX_TOKENS_MAX: i64 = 1_000_000;
/// Longest prompt of a chat, in characters.
pub(crate) const PROMPT_MAX: usize = 100_000;

/// Fields that require a structured answer, which truncation would break.
const FORMING: [&str; 4] = ["tools", "functions", "response_format", "tool_choice"];

/// A request for a chat completion. Other fields are passed to the model unchanged.
#[derive(Deserialize, ToSchema)]
pub struct ChatRequest {
    /// The model, or `engine/model`. Default, also as the name `default`: the configured model.
    model: Option<String>,
    /// The chat; the last message with role `user` is the prompt.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Vec<Value>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Only 1 is supported.
    n: Option<i64>,
    /// The data subject of the prompt.
    user: Option<String>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    mlsdm: Option<Extension>,
    #[serde(flatten)]
    #[schema(ignore)]
    rest: Map<String, Value>,
}

#[derive(Deserialize, ToSchema)]
struct StreamOptions {
    /// Send a last chunk with the token usage.
    #[serde(default)]
    include_usage: bool,
}

/// Options of this server.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extension {
    /// The caller's moral score of the prompt, from 0 (harmful) to 1 (harmless).
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub(crate) moral_value: Option<f64>,
    /// Upper bound of the memories in the context.
    #[schema(minimum = 0, maximum = 20)]
    pub(crate) context_top_k: Option<i64>,
}

/// A validated request.
pub(super) struct ParsedRequest {
    pub(super) generate: StepRequest,
    pub(super) user: Option<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl ChatRequest {
    pub(super) fn validate(self) -> Result<ParsedRequest, Problem> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(bad(
                "n must be 1, because each answer is a step of its own; send the request n times",
            ));
        }
        let temperature = self.temperature;
        if temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            return Err(bad("temperature must be between 0 and 2"));
        }
        let messages = messages(&self.messages, read)?;
        let prompt = prompt_of(&messages)?;
        let asked = self.max_completion_tokens.or(self.max_tokens);
        let metadata = self.metadata.unwrap_or_default();
        bounds::metadata(&metadata)?;
        let extension = self.mlsdm.unwrap_or_default();
        let generate = StepRequest {
            prompt: messages[prompt].text.clone(),
            moral_value: bounds::moral_value(extension.moral_value)?,
            max_tokens: bounds::max_tokens(asked, MAX_TOKENS_MAX)?,
            context_top_k: bounds::context_top_k(extension.context_top_k)?,
            model: self.model,
            temperature,
            metadata,
            chat: Some(Chat {
                messages: messages.into(),
                prompt,
                shortenable: !FORMING.iter().any(|field| is_set(&self.rest, field)),
                extra: std::sync::Arc::new(Extra {
                    dialect: Some(Dialect::OpenAi),
                    fields: self.rest,
                }),
            }),
        };
        Ok(ParsedRequest {
            generate,
            user: self.user,
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.is_some_and(|options| options.include_usage),
        })
    }
}

/// True if a field is present and not null.
pub(crate) fn is_set(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadChat, detail)
}

/// Parses all messages. An error names the index of the message and never quotes its text.
pub(crate) fn messages(
    values: &[Value],
    read: fn(&Value) -> Result<Message, &'static str>,
) -> Result<Vec<Message>, Problem> {
    if values.is_empty() || values.len() > MESSAGES_MAX {
        return Err(bad(format!("messages must contain 1 to {MESSAGES_MAX} messages")));
    }
    let read =
        |(index, value)| read(value).map_err(|what| bad(format!("messages[{index}]: {what}")));
    values.iter().enumerate().map(read).collect()
}

/// The index of the prompt: the last message with role `user`.
pub(crate) fn prompt_of(messages: &[Message]) -> Result<usize, Problem> {
    let last = messages.iter().rposition(|message| message.role == Role::User);
    let prompt = last.ok_or_else(|| {
        bad("messages has no message with role `user`, which is the prompt; send one")
    })?;
    let text = &messages[prompt].text;
    if is_blank(text) {
        let detail = "the last message with role `user` is the prompt and has no text; send at least one word";
        return Err(Problem::new(Code::PromptBlank, detail));
    }
    if text.chars().count() > PROMPT_MAX {
        let detail = format!(
            "the last message with role `user` is the prompt and is longer than {PROMPT_MAX} \
             characters; shorten it"
        );
        return Err(Problem::new(Code::PromptTooLong, detail));
    }
    Ok(prompt)
}

fn read(value: &Value) -> Result<Message, &'static str> {
    let fields = value.as_object().ok_or("expected an object")?;
    let name = fields.get("role").and_then(Value::as_str).ok_or("role is missing")?;
    let role = match name {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => return Err("role must be system, developer, user, assistant or tool"),
    };
    let content = fields.get("content").unwrap_or(&Value::Null);
    let text = text_of(content)?;
    let plain = content.is_string() && fields.len() == 2 && name != "developer";
    Ok(Message { role, text, raw: (!plain).then(|| value.clone()) })
}

/// The text of a message: its content, or its text parts joined by line breaks.
pub(crate) fn text_of(content: &Value) -> Result<String, &'static str> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            let texts: Option<Vec<&str>> = texts.map(|part| part["text"].as_str()).collect();
            Ok(texts.ok_or("a part of type text has no text")?.join("\n"))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err("content must be a string or a list of parts")
        }
    }
}
