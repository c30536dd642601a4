//! Parses the requests of `OpenAI`'s clients.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::HttpRequest;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    domain::policy::MemoryMode,
    engine::StepRequest,
    http::{
        AppState, Code, Problem,
        v1::{
            bounds,
            fields::{self, borrow, is_plain, text_of},
            prompt,
        },
    },
    json::{self, BorrowedFields, Fields},
    llm::{Dialect, Extra, LimitField, Message, Role},
};

/// Upper bound of the messages of a chat, or of the items of an input: a turn of an agent has several.
pub(crate) const MESSAGES_MAX: usize = 8_192;

/// Fields that require a structured answer, which truncation would break.
const FORMING: [&str; 4] = ["tools", "functions", "response_format", "tool_choice"];

/// A request for a chat completion. Other fields are passed to the model unchanged.
#[derive(ToSchema)]
pub struct ChatRequest {
    /// The model, or `engine/model`. Default, also as the name `default`: the configured model.
    model: Option<String>,
    /// The chat. The text of the user after the last answer is the prompt.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Result<Vec<Message>, Problem>,
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
    metadata: Option<BTreeMap<String, String>>,
    mlsdm: Option<Extension>,
    #[schema(ignore)]
    rest: Fields,
}

impl<'de> Deserialize<'de> for ChatRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BorrowedFields::deserialize(deserializer)?;
        Ok(Self {
            model: borrow(&fields, "model")?,
            messages: messages(&fields, message)?,
            max_tokens: borrow(&fields, "max_tokens")?,
            max_completion_tokens: borrow(&fields, "max_completion_tokens")?,
            temperature: borrow(&fields, "temperature")?,
            stream: borrow(&fields, "stream")?,
            stream_options: borrow(&fields, "stream_options")?,
            n: borrow(&fields, "n")?,
            user: borrow(&fields, "user")?,
            metadata: borrow(&fields, "metadata")?,
            mlsdm: borrow(&fields, "mlsdm")?,
            rest: fields.without(&["model", "messages", "stream", "mlsdm"]),
        })
    }
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
    /// The use of the memory: `full` (search it and be remembered), `recall` (search it) or `off`. The
    /// policy may allow less.
    #[schema(value_type = Option<String>)]
    pub(crate) memory: Option<MemoryMode>,
}

/// A validated request.
pub(in crate::http::v1) struct ParsedRequest {
    pub(in crate::http::v1) generate: StepRequest,
    pub(in crate::http::v1) user: Option<String>,
    pub(in crate::http::v1) stream: bool,
    pub(in crate::http::v1) include_usage: bool,
}

impl ChatRequest {
    /// True if the messages have the expected form.
    #[cfg(feature = "tools")]
    pub(crate) const fn is_decoded(&self) -> bool {
        self.messages.is_ok()
    }

    pub(in crate::http::v1) fn validate(
        self,
        request: &HttpRequest,
        state: &AppState,
    ) -> Result<ParsedRequest, Problem> {
        let llm = &state.engines.parts().llm;
        if self.n.is_some_and(|n| n != 1) {
            return Err(bad(
                "n must be 1, because each answer is a step of its own; send the request n times",
            ));
        }
        let temperature = self.temperature;
        if temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            return Err(bad("temperature must be between 0 and 2"));
        }
        let limit = self.limit();
        let messages = self.messages?;
        fields::check(Dialect::OpenAi, &self.rest, llm)?;
        let max_tokens = bounds::chat_tokens(limit.0, limit.1, llm)?;
        let shortenable = !FORMING.iter().any(|field| self.rest.is_set(field));
        let headers = fields::headers(request, Dialect::OpenAi, llm)?;
        let extra = Extra { dialect: Some(Dialect::OpenAi), fields: self.rest, headers };
        let (prompt, chat) = prompt::chat(messages, shortenable, extra, &state.blocks)?;
        let metadata = self.metadata.unwrap_or_default();
        bounds::metadata(&metadata)?;
        let extension = self.mlsdm.unwrap_or_default();
        let generate = StepRequest {
            prompt,
            moral_value: bounds::moral_value(extension.moral_value)?,
            max_tokens,
            context_top_k: bounds::context_top_k(extension.context_top_k)?,
            model: self.model,
            temperature,
            memory: extension.memory,
            metadata,
            chat: Some(chat),
            ..StepRequest::default()
        };
        Ok(ParsedRequest {
            generate,
            user: self.user,
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.is_some_and(|options| options.include_usage),
        })
    }

    /// The limit, in the field in which the caller named it.
    fn limit(&self) -> (Option<i64>, LimitField) {
        match self.max_completion_tokens {
            Some(tokens) => (Some(tokens), LimitField::MaxCompletionTokens),
            None => (self.max_tokens, LimitField::MaxTokens),
        }
    }
}

pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadChat, detail)
}

/// Parses all messages, each directly from the body, so that only what is kept is copied. An inner error
/// names the index of the message and never quotes its text.
pub(in crate::http::v1) fn messages<'t, E: serde::de::Error>(
    fields: &BorrowedFields<'t>,
    read: fn(&'t RawValue) -> Result<Message, &'static str>,
) -> Result<Result<Vec<Message>, Problem>, E> {
    let values: Option<Vec<&'t RawValue>> = borrow(fields, "messages")?;
    let values = values.ok_or_else(|| E::missing_field("messages"))?;
    if values.is_empty() || values.len() > MESSAGES_MAX {
        return Ok(Err(bad(format!("messages must contain 1 to {MESSAGES_MAX} messages"))));
    }
    let read = |(index, value): (usize, &'t RawValue)| {
        read(value).map_err(|what| bad(format!("messages[{index}]: {what}")))
    };
    Ok(values.into_iter().enumerate().map(read).collect())
}

fn message(raw: &RawValue) -> Result<Message, &'static str> {
    let fields: BorrowedFields<'_> =
        json::read(raw).map_err(|_| "expected an object with unique names")?;
    let name = fields.text("role").map_err(|_| "role must be a string")?;
    let name = name.ok_or("role is missing")?;
    let role = match &*name {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => return Err("role must be system, developer, user, assistant or tool"),
    };
    let text = text_of(fields.get("content"))?;
    let raw = (!is_plain(raw, &name, &text)).then(|| Arc::from(raw.to_owned()));
    Ok(Message { role, text, raw })
}
