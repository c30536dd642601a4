//! Parses the requests of the Responses API.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::HttpRequest;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{echo::Echo, items};
use crate::{
    domain::policy::MemoryMode,
    engine::StepRequest,
    http::{
        Problem,
        v1::{
            bounds,
            chat::completions::request::{Extension, MESSAGES_MAX, bad},
            fields::{self, read, take},
            prompt,
        },
    },
    json::Fields,
    llm::{Dialect, Extra, LimitField, Llm, Message, Role, is_instructions, turn::ClientBlocks},
};

/// Fields that require a structured answer, which truncation would break.
const FORMING: [&str; 2] = ["tools", "text"];

/// A request for a response. Other fields are passed to a provider that has this route.
#[derive(ToSchema)]
pub struct ResponsesRequest {
    /// The model, or `engine/model`. Default, also as the name `default`: the configured model.
    model: Option<String>,
    /// A text, or a list of items: messages, calls of tools and their results, reasoning. The last
    /// message of the user is the prompt.
    #[schema(value_type = Object)]
    input: Option<Box<RawValue>>,
    /// The system prompt.
    #[schema(value_type = Option<String>)]
    instructions: Option<Box<RawValue>>,
    /// The id of a response of this server; its input and output precede the input.
    previous_response_id: Option<String>,
    /// False if the response cannot be read again, nor continued by its id. Default: true.
    #[expect(dead_code, reason = "read for its type, and from the log")]
    store: Option<bool>,
    max_output_tokens: Option<i64>,
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    stream: Option<bool>,
    /// The data subject of the prompt.
    user: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    /// Not supported; only false.
    background: Option<bool>,
    mlsdm: Option<Extension>,
    #[schema(ignore)]
    rest: Fields,
}

impl<'de> Deserialize<'de> for ResponsesRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Fields::deserialize(deserializer)?;
        Ok(Self {
            model: take(&mut fields, "model")?,
            input: take(&mut fields, "input")?,
            instructions: take(&mut fields, "instructions")?,
            previous_response_id: take(&mut fields, "previous_response_id")?,
            store: read(&fields, "store")?,
            max_output_tokens: read(&fields, "max_output_tokens")?,
            temperature: read(&fields, "temperature")?,
            stream: take(&mut fields, "stream")?,
            user: read(&fields, "user")?,
            metadata: read(&fields, "metadata")?,
            background: read(&fields, "background")?,
            mlsdm: take(&mut fields, "mlsdm")?,
            rest: fields,
        })
    }
}

/// A validated request.
pub(super) struct ParsedRequest {
    pub(super) model: Option<String>,
    pub(super) user: Option<String>,
    pub(super) stream: bool,
    /// The input items, the instructions first.
    pub(super) messages: Vec<Message>,
    pub(super) previous: Option<String>,
    /// The step without its chat.
    pub(super) step: StepRequest,
    pub(super) extra: Extra,
}

impl ResponsesRequest {
    pub(super) fn validate(
        self,
        request: &HttpRequest,
        llm: &Llm,
    ) -> Result<ParsedRequest, Problem> {
        self.check_served()?;
        let temperature = self.temperature;
        if temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            return Err(bad("temperature must be between 0 and 2"));
        }
        fields::check(Dialect::Responses, &self.rest, llm)?;
        let metadata = self.metadata.unwrap_or_default();
        bounds::metadata(&metadata)?;
        let extension = self.mlsdm.unwrap_or_default();
        let limit = LimitField::MaxOutputTokens;
        let step = StepRequest {
            moral_value: bounds::moral_value(extension.moral_value)?,
            max_tokens: bounds::chat_tokens(self.max_output_tokens, limit, llm)?,
            context_top_k: bounds::context_top_k(extension.context_top_k)?,
            temperature,
            memory: extension.memory,
            metadata,
            ..StepRequest::default()
        };
        let mut messages = read_input(self.input)?;
        if let Some(instructions) = self.instructions {
            let instructions = Message::from_json(Role::System, Arc::from(instructions))
                .map_err(|_| bad("instructions must be a text"))?;
            messages.insert(0, instructions);
        }
        Ok(ParsedRequest {
            model: self.model,
            user: self.user,
            stream: self.stream.unwrap_or(false),
            messages,
            previous: self.previous_response_id,
            step,
            extra: Extra {
                dialect: Some(Dialect::Responses),
                headers: fields::headers(request, Dialect::Responses, llm)?,
                fields: self.rest,
            },
        })
    }

    fn check_served(&self) -> Result<(), Problem> {
        if self.background == Some(true) {
            return Err(bad(
                "background must be false; this server answers while the client waits",
            ));
        }
        if self.rest.is_set("conversation") {
            return Err(bad("conversation is not supported; continue with previous_response_id"));
        }
        Ok(())
    }
}

impl ParsedRequest {
    /// What the response repeats.
    pub(super) fn echo(&self) -> Echo {
        Echo::of(&self.messages, self.extra.fields.clone(), self.previous.as_deref())
    }

    /// The use of the memory if the request names none: agents that offer tools have the log of their
    /// conversation, and need the memory of others only.
    pub(super) fn default_memory(&self) -> MemoryMode {
        if self.extra.fields.is_set("tools") { MemoryMode::Recall } else { MemoryMode::Full }
    }

    /// The step, with the items of earlier responses before the input.
    pub(super) fn step(
        self,
        earlier: Vec<Message>,
        blocks: &ClientBlocks,
    ) -> Result<StepRequest, Problem> {
        let Self { messages, previous, step, extra, .. } = self;
        // instructions are not inherited: they stay before everything else
        let at = usize::from(messages.first().is_some_and(is_instructions));
        let mut all = messages;
        all.splice(at..at, earlier);
        let shortenable = !FORMING.iter().any(|field| extra.fields.is_set(field));
        let (prompt, chat) = prompt::chat(all, shortenable, extra, blocks)?;
        Ok(StepRequest { prompt, chat: Some(chat), continued: previous, ..step })
    }
}

/// The input: a text is a message of the user.
fn read_input(input: Option<Box<RawValue>>) -> Result<Vec<Message>, Problem> {
    let missing = "input must be a text or a list of items";
    let input = input.ok_or_else(|| bad(missing))?;
    if input.get().starts_with('"') {
        let text = Message::from_json(Role::User, Arc::from(input)).map_err(|_| bad(missing))?;
        return Ok(vec![text]);
    }
    let items: Vec<Box<RawValue>> = serde_json::from_str(input.get()).map_err(|_| bad(missing))?;
    if items.len() > MESSAGES_MAX {
        return Err(bad(format!("input must contain at most {MESSAGES_MAX} items")));
    }
    let read = |(index, item): (usize, Box<RawValue>)| {
        items::message(Arc::from(item)).map_err(|what| bad(format!("input[{index}]: {what}")))
    };
    items.into_iter().enumerate().map(read).collect()
}
