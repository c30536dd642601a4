//! Responses in the format of `OpenAI`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::{echo::Echo, output};
use crate::{
    clock,
    engine::Answer,
    http::{governance::Governance, native},
    json::{self, Fields},
    llm::Dialect,
};

/// A response of the model.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelResponse)]
pub struct ResponseBody {
    id: String,
    object: &'static str,
    /// Time of the request, in seconds since the Unix epoch.
    created_at: i64,
    /// `completed`, `incomplete`, `failed` or `in_progress`.
    status: &'static str,
    #[schema(value_type = Option<Object>)]
    error: Option<Value>,
    /// Why the response is incomplete: `max_output_tokens` or `content_filter`.
    incomplete_details: Option<IncompleteDetails>,
    model: String,
    /// Reasoning, messages and calls of tools. A moral rejection is a message with a part of type
    /// `refusal`.
    #[schema(value_type = Vec<Object>)]
    output: Vec<Value>,
    /// The fields of the request.
    #[serde(flatten)]
    #[schema(ignore)]
    echo: Echo,
    usage: Option<ResponseUsage>,
    /// Governance of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    mlsdm: Option<Governance>,
}

#[derive(Serialize, ToSchema)]
struct IncompleteDetails {
    reason: &'static str,
}

/// Tokens, counted by the provider.
#[derive(Serialize, ToSchema)]
struct ResponseUsage {
    input_tokens: u64,
    input_tokens_details: InputTokens,
    output_tokens: u64,
    output_tokens_details: OutputTokens,
    total_tokens: u64,
}

#[derive(Serialize, ToSchema)]
struct InputTokens {
    cached_tokens: u64,
}

#[derive(Serialize, ToSchema)]
struct OutputTokens {
    reasoning_tokens: u64,
}

impl ResponseBody {
    /// A response that has only begun.
    pub(super) fn begun(id: &str, model: &str, echo: &Echo) -> Self {
        Self {
            id: self::id(id),
            object: "response",
            created_at: created_at(id),
            status: "in_progress",
            error: None,
            incomplete_details: None,
            model: model.to_owned(),
            output: Vec::new(),
            echo: echo.clone(),
            usage: None,
            mlsdm: None,
        }
    }

    /// A response that failed with an error.
    pub(super) fn failed(self, error: Value, output: Vec<Value>) -> Self {
        Self { status: "failed", error: Some(error), output, ..self }
    }

    /// The response of a step with these output items.
    pub(super) fn ended(answer: &Answer, echo: &Echo, output: Vec<Value>) -> Self {
        let reason = output::incomplete(answer);
        Self {
            status: if reason.is_some() { "incomplete" } else { "completed" },
            incomplete_details: reason.map(|reason| IncompleteDetails { reason }),
            output,
            usage: Some(ResponseUsage::from(answer)),
            mlsdm: Some(Governance::from(answer)),
            ..Self::begun(&answer.id, &answer.model, echo)
        }
    }

    /// The response with the name of a further part that was left out.
    pub(super) fn without(mut self, lost: Option<&'static str>) -> Self {
        if let Some(governance) = &mut self.mlsdm {
            governance.dropped.extend(lost.map(str::to_owned));
        }
        self
    }

    /// The status.
    pub(super) const fn status(&self) -> &'static str {
        self.status
    }
}

/// The body of a whole answer.
pub(super) fn body(answer: &Answer, echo: &Echo) -> String {
    // plain structures always have a JSON form
    serde_json::to_string(&ended(answer, echo)).unwrap_or_default()
}

/// The response of a step. One of a provider of this dialect is complete.
pub(super) fn ended(answer: &Answer, echo: &Echo) -> Fields {
    native(answer, echo).unwrap_or_else(|| {
        let output = output::items(answer, echo);
        let response = json::raw(&ResponseBody::ended(answer, echo, output)).ok();
        response.and_then(|response| json::read(&response).ok()).unwrap_or_default()
    })
}

/// The response of the provider, with the ids and the governance of this server.
fn native(answer: &Answer, echo: &Echo) -> Option<Fields> {
    let given = native::fields(answer, Dialect::Responses)?;
    let own = [
        ("id", json::raw(&id(&answer.id)).ok()?),
        ("object", json::raw("response").ok()?),
        ("created_at", json::raw(&created_at(&answer.id)).ok()?),
    ];
    let mut body: Fields = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (name, value) in given.iter() {
        body.insert(name, Arc::clone(value));
    }
    if let Some(output) = renamed(answer, &given) {
        body.insert("output", output);
    }
    for (name, value) in echo.repeated() {
        if body.get(name).is_none() {
            body.insert(name, value);
        }
    }
    body.set("mlsdm", &Governance::from(answer)).ok()?;
    Some(body)
}

/// The provider's output items with the ids that the client knows.
fn renamed(answer: &Answer, given: &Fields) -> Option<Arc<RawValue>> {
    let mut items: Vec<Fields> = given.read("output").ok().flatten()?;
    for (at, item) in items.iter_mut().enumerate() {
        let id: Option<String> = item.read("id").ok().flatten();
        if let Some(id) = id.and_then(|id| output::renamed(&answer.id, at, &id)) {
            item.set("id", &id).ok()?;
        }
    }
    json::raw(&items).ok()
}

pub(super) fn id(id: &str) -> String {
    format!("resp_{id}")
}

/// The time in the id of a request (UUID version 7), so that a response always says the same time.
fn created_at(id: &str) -> i64 {
    let time = uuid::Uuid::parse_str(id).ok().and_then(|id| id.get_timestamp());
    let seconds = time.and_then(|time| i64::try_from(time.to_unix().0).ok());
    seconds.unwrap_or_else(|| clock::now_micros() / 1_000_000)
}

impl From<&Answer> for ResponseUsage {
    fn from(answer: &Answer) -> Self {
        let usage = answer.usage;
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputTokens { cached_tokens: usage.cached_tokens.unwrap_or(0) },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokens {
                reasoning_tokens: usage.reasoning_tokens.unwrap_or(0),
            },
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        }
    }
}
