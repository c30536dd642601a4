//! Parses the requests of Anthropic's clients.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    engine::{Chat, StepRequest},
    http::{
        Problem,
        v1::{
            bounds,
            chat::completions::request::{
                Extension, MAX_TOKENS_MAX, bad, is_set, messages, prompt_of, text_of,
            },
        },
    },
    llm::{Dialect, Extra, Message, Role},
};

/// A request for a message. Other fields are passed to the model unchanged.
#[derive(Deserialize, ToSchema)]
pub struct MessagesRequest {
    /// The model, or `engine/model`; `default` is the configured model.
    model: Option<String>,
    /// The chat; the last message with role `user` is the prompt.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Vec<Value>,
    max_tokens: Option<i64>,
    /// The system prompt: a string or a list of text blocks.
    #[schema(value_type = Option<Object>)]
    system: Option<Value>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    temperature: Option<f64>,
    stream: Option<bool>,
    metadata: Option<Metadata>,
    mlsdm: Option<Extension>,
    #[serde(flatten)]
    #[schema(ignore)]
    rest: Map<String, Value>,
}

#[derive(Deserialize, ToSchema)]
struct Metadata {
    /// The data subject of the prompt.
    user_id: Option<String>,
}

/// A validated request.
pub(super) struct ParsedRequest {
    pub(super) generate: StepRequest,
    pub(super) user: Option<String>,
    pub(super) stream: bool,
}

impl MessagesRequest {
    pub(super) fn validate(self) -> Result<ParsedRequest, Problem> {
        let temperature = self.temperature;
        if temperature.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            return Err(bad("temperature must be between 0 and 1"));
        }
        let mut messages = messages(&self.messages, read)?;
        if let Some(system) = self.system.filter(|system| !system.is_null()) {
            messages.insert(0, read_system(system)?);
        }
        let prompt = prompt_of(&messages)?;
        let extension = self.mlsdm.unwrap_or_default();
        let generate = StepRequest {
            prompt: messages[prompt].text.clone(),
            moral_value: bounds::moral_value(extension.moral_value)?,
            max_tokens: bounds::max_tokens(self.max_tokens, MAX_TOKENS_MAX)?,
            context_top_k: bounds::context_top_k(extension.context_top_k)?,
            model: self.model,
            temperature,
            chat: Some(Chat {
                messages: messages.into(),
                prompt,
                shortenable: !is_set(&self.rest, "tools"),
                extra: std::sync::Arc::new(Extra {
                    dialect: Some(Dialect::Anthropic),
                    fields: self.rest,
                }),
            }),
            ..StepRequest::default()
        };
        Ok(ParsedRequest {
            generate,
            user: self.metadata.and_then(|metadata| metadata.user_id),
            stream: self.stream.unwrap_or(false),
        })
    }
}

/// The system prompt. A list of blocks is also passed to the model unchanged.
fn read_system(system: Value) -> Result<Message, Problem> {
    let text = text_of(&system).map_err(|what| bad(format!("system: {what}")))?;
    let raw = (!system.is_string()).then_some(system);
    Ok(Message { role: Role::System, text, raw })
}

fn read(value: &Value) -> Result<Message, &'static str> {
    let fields = value.as_object().ok_or("expected an object")?;
    let role = match fields.get("role").and_then(Value::as_str) {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some(_) => return Err("role must be user or assistant"),
        None => return Err("role is missing"),
    };
    let content = fields.get("content").unwrap_or(&Value::Null);
    let text = text_of(content)?;
    let plain = content.is_string() && fields.len() == 2;
    Ok(Message { role, text, raw: (!plain).then(|| value.clone()) })
}
