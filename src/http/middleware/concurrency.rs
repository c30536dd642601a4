//! Limits the requests that are served at once, and gives each a lease of the memory of all of them.
//! Health probes are exempt.

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

use crate::http::{AppState, Code, Problem, paths::is_probe, retain_body::RetainBody};

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
    let Some(permit) = state.limiter.admit().await else {
        let detail = "the server is at its concurrency limit; try again later, or raise \
                      limits.concurrency or limits.queue";
        return Ok(reject(request, &Problem::new(Code::OverConcurrency, detail)));
    };
    let lease = state.inflight.lease();
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
