//! Counts requests that leave no step, so that the logs have a trace of them: those that are turned
//! away before a verdict, and denied accesses.

use actix_web::{HttpMessage as _, HttpRequest};

use super::{AppState, Code, identity::Identity, paths};
use crate::domain::ids::EngineId;

/// The engine that a request calls. Handlers insert it into the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct CalledEngine(pub(super) EngineId);

/// The errors by which a request for a step is turned away before a verdict.
const BEFORE_VERDICT: [Code; 7] = [
    Code::TooManyRequests,
    Code::BudgetSpent,
    Code::BudgetHolders,
    Code::NoPrice,
    Code::EmergencyShutdown,
    Code::ModelUnavailable,
    Code::EmbedderUnavailable,
];

/// Counts the response to a request with this error, which names no step.
pub(super) fn count(state: &AppState, request: &HttpRequest, pattern: Option<&str>, code: Code) {
    if let Some(reason) = denial(request, code) {
        state.engines.count_denied(&reason);
    } else if BEFORE_VERDICT.contains(&code) && pattern.is_some_and(paths::is_step) {
        state.engines.count_refused(&engine(state, request), code.text());
    }
}

/// Why access was denied: the reason for which the credential was rejected, or what the caller lacks.
fn denial(request: &HttpRequest, code: Code) -> Option<String> {
    let lacking = [
        (Code::Unauthenticated, "credential"),
        (Code::Forbidden, "permission"),
        (Code::OtherSubject, "delegation"),
        (Code::OriginNotAllowed, "origin"),
    ];
    let (_, lacking) = lacking.into_iter().find(|(denied, _)| *denied == code)?;
    Some(match Identity::of(request) {
        Identity::Rejected(reason) => reason.to_string(),
        Identity::Anonymous | Identity::Authenticated(_) => lacking.to_owned(),
    })
}

/// The engine of a request. A request above the rate limit has not reached a handler: it counts for the
/// engine in its path if its caller can access that engine and it is in memory, else for the default
/// engine, because a caller must not make the server load engines.
fn engine(state: &AppState, request: &HttpRequest) -> EngineId {
    if let Some(CalledEngine(id)) = request.extensions().get() {
        return id.clone();
    }
    let named = paths::engine_of(request.path()).and_then(|name| name.parse::<EngineId>().ok());
    let is_visible = |id: &EngineId| match Identity::of(request) {
        Identity::Authenticated(principal) => principal.engines.contains(id),
        Identity::Anonymous | Identity::Rejected(_) => false,
    };
    let is_loaded =
        |id: &EngineId| state.engines.in_memory().iter().any(|engine| engine.id() == id);
    named
        .filter(is_visible)
        .filter(is_loaded)
        .unwrap_or_else(|| state.engines.settings().default.clone())
}
