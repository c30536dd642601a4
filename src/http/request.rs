//! What surrounds every request: ids, span, headers, limits, the access line, and error bodies.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use actix_web::{
    Error, HttpMessage as _, HttpResponse, ResponseError as _,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use futures_util::FutureExt as _;
use tracing::{Instrument as _, Span, error_span, field::Empty};

use super::{
    AppState, Code, Problem,
    carried::Carried,
    cors,
    envelope::Envelope,
    headers::Kind,
    line::{Ending, Line, Step},
    metrics::{HttpMetrics, UNMATCHED},
    trace::{self, Place, TRACE_RESPONSE},
};
use crate::ids;

/// The header that carries a request's id in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id taken from a caller, in characters.
const REQUEST_ID_MAX: usize = 128;

/// Paths that answer however busy the server is.
pub(super) const PROBES: [&str; 2] = ["/health", "/status"];

/// The ids of a request; every handler finds them in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// The caller's `X-Request-ID` if it is acceptable, else a new one.
    pub request_id: String,
    /// That of the caller's `traceparent` if it is valid, else a new one: 32 hexadecimal digits.
    pub trace_id: String,
}

impl RequestIds {
    fn of(headers: &HeaderMap, place: &Place) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(&REQUEST_ID).filter(|id| is_request_id(id)).map(str::to_owned);
        Self {
            request_id: request_id.unwrap_or_else(ids::request_id),
            trace_id: place.trace_id.clone(),
        }
    }
}

/// What an answer says of its request.
struct Told {
    ids: RequestIds,
    place: Place,
    kind: Kind,
    envelope: Envelope,
    started: Instant,
    /// In the trace.
    span: Span,
    /// In the log.
    lines: Span,
    metrics: Option<Arc<HttpMetrics>>,
}

impl Told {
    fn line(&self, status: StatusCode) -> Line {
        let (span, lines) = (self.span.clone(), self.lines.clone());
        Line { span, lines, started: self.started, status, metrics: self.metrics.clone() }
    }
}

fn is_request_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(plain)
}

/// The outermost middleware: whatever happens inside, the caller gets an answer with ids.
pub async fn surround<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    // the template, never the path, which callers choose
    let pattern = request.match_pattern();
    let (span, place) = trace::begin(&request, pattern.as_deref());
    let ids = RequestIds::of(request.headers(), &place);
    span.record("mlsdm.request_id", &ids.request_id);
    request.extensions_mut().insert(ids.clone());
    let method = trace::method(request.method());
    let (kind, envelope) = (Kind::of(&request), Envelope::of(request.path()));
    let metrics = request.app_data::<web::Data<AppState>>().map(|state| Arc::clone(&state.metrics));
    let route = pattern.as_deref().unwrap_or(UNMATCHED);
    let (request_id, trace_id, span_id) = (&ids.request_id, &place.trace_id, &place.span_id);
    // of the highest level, so that every line has the ids whatever is logged; what is empty is said
    // by whoever finds it out
    let lines = error_span!(
        "request",
        request_id,
        trace_id,
        span_id,
        method,
        route,
        engine = Empty,
        prompt_length = Empty
    );
    let inside = next.call(request).instrument(lines.clone()).instrument(span.clone());
    let outcome = AssertUnwindSafe(inside).catch_unwind().await;
    let in_span = span.clone().entered();
    let told = Told { ids, place, kind, envelope, started, span, lines, metrics: metrics.clone() };
    let answer = match outcome {
        Ok(Ok(response)) => Ok(finish(response.map_into_boxed_body(), &told)),
        Ok(Err(error)) => Err(fail(Problem::internal(&Failed(error.to_string())), &told)),
        Err(_panic) => {
            let failed = Failed("a handler panicked".to_owned());
            Err(fail(Problem::internal(&failed), &told))
        }
    };
    if let Some(metrics) = metrics {
        let status =
            answer.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, ServiceResponse::status);
        metrics.answered(pattern.as_deref(), method, status.as_u16(), started.elapsed());
        if answer.as_ref().is_ok_and(is_shut_down) {
            metrics.shutdown_refusals.inc();
        }
    }
    drop(in_span);
    answer
}

/// Refuses what is beyond the limits; health routes always pass.
pub async fn limit<B: MessageBody + 'static>(
    state: web::Data<AppState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if is_probe(request.path()) {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    let refuse = |request: ServiceRequest, problem: Problem| {
        let mut response = problem.error_response();
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        Ok(request.into_response(response))
    };
    if state.stop.is_soft() {
        return refuse(
            request,
            Problem::new(Code::Draining, "try another replica, or again later"),
        );
    }
    let Some(admission) = state.limiter.admit().await else {
        let detail = "try again later, or raise limits.concurrency or limits.queue";
        return refuse(request, Problem::new(Code::OverConcurrency, detail));
    };
    let response = next.call(request).await?.map_into_boxed_body();
    // it counts as served until its answer has been sent
    Ok(response.map_body(|_, body| Carried::boxed(body, admission, Span::none())))
}

/// Whether a path is one of those that answer however busy the server is.
pub(super) fn is_probe(path: &str) -> bool {
    PROBES.iter().any(|probe| is_under(path, probe))
}

pub(super) fn is_under(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why a request ended without a response.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

fn finish(mut response: ServiceResponse<BoxBody>, told: &Told) -> ServiceResponse<BoxBody> {
    set_headers(response.headers_mut(), told, told.kind);
    let problem = response.response_mut().extensions_mut().remove::<Problem>();
    let refused = cors::refusal(response.response());
    if let Some(problem) = &refused {
        *response.response_mut().status_mut() = problem.code().status();
    }
    let problem = problem.or(refused);
    let line = told.line(response.status());
    let ending = response.response_mut().extensions_mut().remove::<Ending>();
    if let (None, Some(ending)) = (&problem, ending) {
        return response.map_body(|_, body| line.after(body, ending));
    }
    let step = response.response_mut().extensions_mut().remove::<Step>();
    line.write(problem.as_ref(), step.as_ref());
    if let Some(problem) = &problem {
        response.response_mut().extensions_mut().insert(problem.code());
    }
    match problem {
        Some(problem) => response.map_body(|head, _| {
            let content_type = HeaderValue::from_static(told.envelope.content_type());
            head.headers.insert(header::CONTENT_TYPE, content_type);
            BoxBody::new(told.envelope.body(&problem, &told.ids))
        }),
        None => trace::until_sent(response, &told.span),
    }
}

/// Whether it says that an engine is shut down: no error of the server's.
fn is_shut_down(response: &ServiceResponse<BoxBody>) -> bool {
    response.response().extensions().get::<Code>() == Some(&Code::EmergencyShutdown)
}

fn fail(problem: Problem, told: &Told) -> Error {
    let mut response: HttpResponse = problem.error_response();
    response.extensions_mut().remove::<Problem>();
    set_headers(response.headers_mut(), told, told.kind.error());
    told.line(response.status()).write(Some(&problem), None);
    let content_type = HeaderValue::from_static(told.envelope.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    let body = BoxBody::new(told.envelope.body(&problem, &told.ids));
    InternalError::from_response(problem, response.set_body(body)).into()
}

fn set_headers(headers: &mut HeaderMap, told: &Told, kind: Kind) {
    let texts = [(REQUEST_ID, &told.ids.request_id), (TRACE_RESPONSE, &told.place.response())];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    kind.set(headers);
}

#[cfg(test)]
mod tests {
    use super::is_request_id;

    #[test]
    fn request_ids_are_short_and_plain() {
        assert!(is_request_id("req-1.2_A"));
        assert!(is_request_id(&"x".repeat(128)));
        for bad in ["", "a b", "a\"b", "ä", "a/b", &"x".repeat(129)] {
            assert!(!is_request_id(bad), "{bad}");
        }
    }
}
