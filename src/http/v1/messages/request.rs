//! Parses the requests of Anthropic's clients.

use std::sync::Arc;

use actix_web::HttpRequest;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    engine::StepRequest,
    http::{
        AppState, Problem,
        v1::{
            bounds,
            chat::completions::request::{Extension, bad, messages},
            fields::{self, borrow, is_plain, text_of},
            prompt,
        },
    },
    json::{self, BorrowedFields, Fields},
    llm::{Dialect, Extra, LimitField, Message, Role},
};

/// A request for a message. Other fields are passed to the model unchanged.
#[derive(ToSchema)]
pub struct MessagesRequest {
    /// The model, or `engine/model`; `default` is the configured model.
    model: Option<String>,
    /// The chat. The text of the user after the last answer is the prompt.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Result<Vec<Message>, Problem>,
    max_tokens: Option<i64>,
    /// The system prompt: a string or a list of text blocks.
    #[schema(value_type = Option<Object>)]
    system: Option<Result<Message, Problem>>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    temperature: Option<f64>,
    stream: Option<bool>,
    metadata: Option<Metadata>,
    mlsdm: Option<Extension>,
    #[schema(ignore)]
    rest: Fields,
}

impl<'de> Deserialize<'de> for MessagesRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BorrowedFields::deserialize(deserializer)?;
        let system = fields.get("system").filter(|system| !json::is_null(system));
        Ok(Self {
            model: borrow(&fields, "model")?,
            messages: messages(&fields, message)?,
            max_tokens: borrow(&fields, "max_tokens")?,
            system: system.map(read_system),
            temperature: borrow(&fields, "temperature")?,
            stream: borrow(&fields, "stream")?,
            metadata: borrow(&fields, "metadata")?,
            mlsdm: borrow(&fields, "mlsdm")?,
            rest: fields.without(&["model", "messages", "system", "stream", "mlsdm"]),
        })
    }
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
    pub(super) has_tools: bool,
}

impl MessagesRequest {
    pub(super) fn validate(
        self,
        request: &HttpRequest,
        state: &AppState,
    ) -> Result<ParsedRequest, Problem> {
        let llm = &state.engines.parts().llm;
        let temperature = self.temperature;
        if temperature.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            return Err(bad("temperature must be between 0 and 1"));
        }
        fields::check(Dialect::Anthropic, &self.rest, llm)?;
        let mut messages = self.messages?;
        if let Some(system) = self.system {
            messages.insert(0, system?);
        }
        let has_tools = self.rest.is_set("tools");
        let headers = fields::headers(request, Dialect::Anthropic, llm)?;
        let extra = Extra { dialect: Some(Dialect::Anthropic), fields: self.rest, headers };
        let (prompt, chat) = prompt::chat(messages, !has_tools, extra, &state.blocks)?;
        let extension = self.mlsdm.unwrap_or_default();
        let generate = StepRequest {
            prompt,
            moral_value: bounds::moral_value(extension.moral_value)?,
            max_tokens: bounds::chat_tokens(self.max_tokens, LimitField::MaxTokens, llm)?,
            context_top_k: bounds::context_top_k(extension.context_top_k)?,
            model: self.model,
            temperature,
            memory: extension.memory,
            chat: Some(chat),
            ..StepRequest::default()
        };
        Ok(ParsedRequest {
            generate,
            user: self.metadata.and_then(|metadata| metadata.user_id),
            stream: self.stream.unwrap_or(false),
            has_tools,
        })
    }
}

/// The system prompt. A list of blocks is also passed to the model unchanged.
fn read_system(system: &RawValue) -> Result<Message, Problem> {
    let text = text_of(Some(system)).map_err(|what| bad(format!("system: {what}")))?;
    let is_list = system.get().starts_with('[');
    Ok(Message { role: Role::System, text, raw: is_list.then(|| Arc::from(system.to_owned())) })
}

fn message(raw: &RawValue) -> Result<Message, &'static str> {
    let fields: BorrowedFields<'_> =
        json::read(raw).map_err(|_| "expected an object with unique names")?;
    let name = fields.text("role").map_err(|_| "role must be a string")?;
    let role = match name.as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some(_) => return Err("role must be user, assistant or system"),
        None => return Err("role is missing"),
    };
    let text = text_of(fields.get("content"))?;
    // a system message keeps its place only by its original
    let is_plain =
        role != Role::System && is_plain(raw, name.as_deref().unwrap_or_default(), &text);
    Ok(Message { role, text, raw: (!is_plain).then(|| Arc::from(raw.to_owned())) })
}
