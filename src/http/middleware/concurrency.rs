//! Limits the requests that are served at once, and gives each a lease of the memory of all of them.
//! Requests with texts for a model have limits of their own, so that administration, state and events do
//! not wait for them. Health probes are exempt.

use std::sync::Arc;

use actix_web::{
    Error, HttpMessage as _, ResponseError as _,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderValue},
    middleware::Next,
    web,
};
use tracing::Span;

use crate::http::{
    AppState, Code, Problem,
    paths::{is_probe, takes_texts},
    retain_body::RetainBody,
};

/// Waits for a place, or rejects the request when the queue is full or the server stops.
pub(in crate::http) async fn concurrency<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if is_probe(request.path()) {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    if state.stop.is_soft() {
        let detail = "the server is stopping; use another replica, or try again later";
        return Ok(reject(request, &Problem::new(Code::Draining, detail)));
    }
    let takes_texts = request.match_pattern().is_some_and(|pattern| takes_texts(&pattern));
    let (limiter, memory, settings) = if takes_texts {
        let settings = "limits.step_concurrency or limits.step_queue";
        (&state.step_limiter, &state.inflight, settings)
    } else {
        (&state.limiter, &state.reserve, "limits.concurrency or limits.queue")
    };
    let Some(permit) = limiter.admit().await else {
        let detail =
            format!("the server is at its concurrency limit; try again later, or raise {settings}");
        return Ok(reject(request, &Problem::new(Code::OverConcurrency, detail)));
    };
    let lease = memory.lease();
    request.extensions_mut().insert(Arc::clone(&lease));
    let response = next.call(request).await?.map_into_boxed_body();
    // a response occupies its place and its memory until it has been sent
    if let BodySize::Sized(bytes) = response.response().body().size() {
        lease.add(bytes as usize);
    }
    Ok(response.map_body(|_, body| RetainBody::boxed(body, (permit, lease), Span::none())))
}

fn reject(request: ServiceRequest, problem: &Problem) -> ServiceResponse<BoxBody> {
    let mut response = problem.error_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    request.into_response(response)
}
