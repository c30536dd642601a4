//! The error responses of routes in the OpenAPI document, generated from the table of codes.
//!
//! Each type lists the codes of a group of routes and implements [`utoipa::IntoResponses`], so that
//! `#[utoipa::path(responses(StepProblems))]` documents a status with all its codes, each with an
//! example. The codes of authentication (401 and 403) are not listed here: the document takes them from
//! the guard of the handler.

use std::collections::BTreeMap;

use utoipa::openapi::{
    ContentBuilder, Ref, RefOr, Response, ResponseBuilder, example::ExampleBuilder,
};

use super::{Code, Problem, envelope::Envelope};
use crate::http::request_id::RequestIds;

macro_rules! codes {
    ($($code:ident),* $(,)?) => { &[$(Code::$code),*] };
}

/// A JSON body.
const BODY: &[Code] = codes![
    BadJson,
    BadField,
    BadRequest,
    PayloadTooLarge,
    UnsupportedMediaType,
    BodyTimedOut,
    OverMemory,
];
/// An engine in the path.
const ENGINE: &[Code] = codes![InvalidEngineId, EngineNotFound];
/// The event log and the limits of the server.
const LOG: &[Code] = codes![LogUnavailable, EngineRefused, Draining, OverConcurrency];
/// A command that appends to the event log.
const APPEND: &[Code] = codes![
    LogUnavailable,
    DiskFull,
    EngineRefused,
    EngineUntrusted,
    WriterQueueFull,
    Draining,
    OverConcurrency,
    DeadlineExceeded,
];
/// A prompt, its options and the headers of a step.
const PROMPT: &[Code] = codes![
    PromptBlank,
    PromptTooLong,
    MoralValueRange,
    MaxTokensRange,
    ContextTopKRange,
    BadMetadata,
    MoralValueRequired,
    BadHeader,
    NoPrice,
];
/// A step.
const STEP: &[Code] = codes![
    IdempotencyRunning,
    Erased,
    IdempotencyMismatch,
    BudgetSpent,
    TooManyRequests,
    ModelFailed,
    EmptyResponse,
    EmbeddingFailed,
    ModelMisconfigured,
    BudgetHolders,
    ModelUnavailable,
    EmbedderUnavailable,
    EmergencyShutdown,
    ModelTimedOut,
    StepAbandoned,
    ProviderRefused,
    ModelNotFound,
    ProviderTooLarge,
    ProviderUnprocessable,
    ModelRateLimited,
    ModelQuota,
];
/// A step in the dialect of another API.
const DIALECT: &[Code] = codes![BadChat, ModelCannot, ContentFilter, Asleep];

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident($envelope:ident): $($group:expr),+;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;

            impl utoipa::IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    responses(Envelope::$envelope, [$($group),+].into_iter().flatten().copied())
                }
            }
        )*
    };
}

problems! {
    /// `POST /v1/generate`.
    StepProblems(Problem): BODY, ENGINE, PROMPT, STEP, APPEND;
    /// `POST /v1/chat/completions`.
    ChatProblems(OpenAi): BODY, ENGINE, PROMPT, DIALECT, STEP, APPEND;
    /// `POST /v1/messages`.
    MessagesProblems(Anthropic): BODY, ENGINE, PROMPT, DIALECT, STEP, APPEND;
    /// `POST /v1/messages/count_tokens`.
    CountProblems(Anthropic): BODY, ENGINE, codes![BadHeader];
    /// `POST /v1/responses`.
    ResponsesProblems(OpenAi): BODY, ENGINE, PROMPT, DIALECT, STEP, APPEND, codes![NotFound];
    /// `GET /v1/responses/{id}` and its input items.
    StoredResponseProblems(OpenAi): ENGINE, LOG, codes![BadParameter, BadHeader, BadChat, NotFound];
    /// `POST /v1/embeddings`.
    EmbeddingProblems(OpenAi): BODY, ENGINE, LOG, codes![PromptBlank, BadHeader, EmbeddingFailed, EmbedderUnavailable];
    /// `POST /v1/moderations`.
    ModerationProblems(OpenAi): BODY, ENGINE, LOG, codes![BadHeader, MoralValueRequired];
    /// `GET /v1/models`.
    ModelListProblems(OpenAi): ENGINE, codes![BadHeader];
    /// `GET /v1/models/{model}`.
    ModelProblems(OpenAi): ENGINE, codes![BadHeader, ModelNotFound];
    /// `GET /v1/state`.
    StateProblems(Problem): ENGINE, LOG, codes![BadParameter, BadHeader, EventNotFound];
    /// `GET /v1/events`.
    EventListProblems(Problem): ENGINE, LOG, codes![BadParameter, BadHeader];
    /// `GET /v1/events/{position}`.
    EventProblems(Problem): ENGINE, LOG, codes![BadParameter, BadHeader, EventNotFound];
    /// `GET /v1/events/stream`.
    EventStreamProblems(Problem): ENGINE, LOG, codes![BadParameter, BadHeader];
    /// `POST /v1/admin/shutdown` and `/v1/admin/resume`.
    InterventionProblems(Problem): ENGINE, APPEND, codes![BadField, BadParameter, BadHeader];
    /// `PUT /v1/admin/log-level`.
    LogLevelProblems(Problem): codes![BadJson, BadField, BadRequest, BadHeader];
    /// `GET /v1/engines`.
    EngineListProblems(Problem): LOG;
    /// `POST /v1/engines`.
    EngineProblems(Problem): BODY, APPEND, codes![InvalidEngineId, BadHeader, EngineExists, BadPolicy];
    /// `GET /v1/keys`.
    KeyListProblems(Problem): LOG;
    /// `POST /v1/keys`.
    NewKeyProblems(Problem): BODY, APPEND, codes![BadHeader, TooManyKeys, KeysNotTaken];
    /// `DELETE /v1/keys/{id}`.
    KeyProblems(Problem): APPEND, codes![BadParameter, BadHeader, KeyNotFound];
    /// `POST /v1/keys/{id}/rotate`.
    RotationProblems(Problem): APPEND, codes![BadField, BadParameter, BadHeader, KeyNotFound, KeysNotTaken, PayloadTooLarge];
    /// `GET /health/ready`.
    ReadyProblems(Problem): codes![LogUnavailable, DiskFull, EngineRefused, Draining, Starting];
}

/// One response per status, with an example per code.
pub(in crate::http) fn responses(
    envelope: Envelope,
    codes: impl Iterator<Item = Code>,
) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    let response = |(status, mut codes): (u16, Vec<Code>)| {
        codes.sort_by_key(|code| code.text());
        (status.to_string(), response(envelope, &codes).into())
    };
    by_status.into_iter().map(response).collect()
}

fn response(envelope: Envelope, codes: &[Code]) -> Response {
    let lines: Vec<_> =
        codes.iter().map(|code| format!("{}: {}", code.text(), code.title())).collect();
    let example = |code: &Code| {
        let example = ExampleBuilder::new()
            .summary(code.title())
            .value(Some(example(envelope, *code)))
            .build();
        (code.text(), RefOr::T(example))
    };
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(envelope.schema())))
        .examples_from_iter(codes.iter().map(example))
        .build();
    ResponseBuilder::new()
        .description(lines.join("; "))
        .content(envelope.content_type(), content)
        .build()
}

/// The body of an error with this code.
fn example(envelope: Envelope, code: Code) -> serde_json::Value {
    let ids = RequestIds {
        id: "01920f3e-7c1d-7b3a-9c55-2f4b8a6d0e11".to_owned(),
        client_request_id: None,
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
    };
    envelope.value(&Problem::new(code, code.example_detail()), &ids)
}
