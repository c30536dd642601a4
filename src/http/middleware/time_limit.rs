//! Limits the time in which the response to a request must begin (504).

use std::time::Duration;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
    web,
};

use crate::http::{AppState, Code, Problem, paths::takes_texts, time_limit};

/// Time after the limit for an answer that knows more, such as that of a command whose limit is the
/// same.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// Drops a request whose response has not begun at its limit, `api.timeout`.
pub(in crate::http) async fn time_limit<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let limit = state.engines.settings().timeout;
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    // the limit of a step is lifted when it starts, and the other calls of models record nothing
    let takes_texts = request.match_pattern().is_some_and(|pattern| takes_texts(&pattern));
    let response = time_limit::within(limit + ANSWER_MARGIN, next.call(request)).await;
    response.unwrap_or_else(|| {
        // a read of much that needs more time than the limit would never succeed
        let remedy = if reads { ", ask for less, or raise api.timeout" } else { "" };
        let detail = format!(
            "the server could not answer within {} s (api.timeout): the database of the event log or \
             another service is slow, or the engine is being loaded; send the request again{remedy}",
            limit.as_secs()
        );
        let problem = Problem::new(Code::DeadlineExceeded, detail);
        Err(if reads || takes_texts { problem } else { problem.outcome_unknown() }.into())
    })
}
