//! What a client of `OpenAI`'s API may ask, understood as far as it concerns a step.

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

/// Most messages of a chat.
pub(crate) const MESSAGES_MAX: usize = 2_048;
/// Most tokens that may be asked for; the phase grants fewer.
pub(crate) const MAX_TOKENS_MAX: i64 = 1_000_000;
/// Longest prompt of a chat, in characters.
pub(crate) const PROMPT_MAX: usize = 100_000;

/// Fields that give an answer a form which cutting it short would break.
const FORMING: [&str; 4] = ["tools", "functions", "response_format", "tool_choice"];

/// A chat completion request. Fields not named here are passed on to the model as they are.
#[derive(Deserialize, ToSchema)]
pub struct ChatRequest {
    /// The model, or `engine/model`; `default` or nothing asks the configured one.
    model: Option<String>,
    /// The chat so far; the last message of role `user` is the prompt.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Vec<Value>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Only 1.
    n: Option<i64>,
    /// Whose words the prompt is: the data subject.
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
    /// Whether a last chunk counts the tokens.
    #[serde(default)]
    include_usage: bool,
}

/// What only this server understands.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extension {
    /// The caller's own moral score of the prompt, 0 (harmful) to 1 (harmless).
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub(crate) moral_value: Option<f64>,
    /// Most memories given as context.
    #[schema(minimum = 0, maximum = 20)]
    pub(crate) context_top_k: Option<i64>,
}

/// A chat as a step, and how its caller wants to be answered.
pub(super) struct Asked {
    pub(super) generate: StepRequest,
    pub(super) user: Option<String>,
    pub(super) streams: bool,
    pub(super) include_usage: bool,
}

impl ChatRequest {
    pub(super) fn validate(self) -> Result<Asked, Problem> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(bad(
                "n must be 1: each answer is a step of its own; send the request again",
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
        Ok(Asked {
            generate,
            user: self.user,
            streams: self.stream.unwrap_or(false),
            include_usage: self.stream_options.is_some_and(|options| options.include_usage),
        })
    }
}

/// Whether a field says something.
pub(crate) fn is_set(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadChat, detail)
}

/// Reads each message; a fault names its place, never its text.
pub(crate) fn messages(
    values: &[Value],
    read: fn(&Value) -> Result<Message, &'static str>,
) -> Result<Vec<Message>, Problem> {
    if values.is_empty() || values.len() > MESSAGES_MAX {
        return Err(bad(format!("messages must be 1 to {MESSAGES_MAX} messages")));
    }
    let read =
        |(index, value)| read(value).map_err(|what| bad(format!("messages[{index}]: {what}")));
    values.iter().enumerate().map(read).collect()
}

/// Which message is the prompt: the last one of role `user`.
pub(crate) fn prompt_of(messages: &[Message]) -> Result<usize, Problem> {
    let last = messages.iter().rposition(|message| message.role == Role::User);
    let prompt = last.ok_or_else(|| bad("send at least one message of role `user`"))?;
    let text = &messages[prompt].text;
    if is_blank(text) {
        let detail = "the last message of role `user` is the prompt and needs some text";
        return Err(Problem::new(Code::PromptBlank, detail));
    }
    if text.chars().count() > PROMPT_MAX {
        let detail = format!(
            "the last message of role `user` is the prompt and may have at most {PROMPT_MAX} \
             characters"
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

/// The text of a message: all of it, or its text parts, a line each.
pub(crate) fn text_of(content: &Value) -> Result<String, &'static str> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            let texts: Option<Vec<&str>> = texts.map(|part| part["text"].as_str()).collect();
            Ok(texts.ok_or("a part of type text needs a text")?.join("\n"))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err("content must be a text or a list of parts")
        }
    }
}
