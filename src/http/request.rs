//! What surrounds every request: ids, span, headers, limits, the access line, and error bodies.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use actix_web::{
    Error, HttpMessage as _, HttpResponse, ResponseError as _,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::{self, Bytes},
};
use futures_util::FutureExt as _;
use tracing::{Instrument as _, error, error_span, info};

use super::{AppState, Code, Problem, cors, envelope::Envelope, headers::Kind};
use crate::{ids, limiter::Admission, telemetry::metrics::UNMATCHED};

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
    /// From the caller's `traceparent` if it is valid, else a new one: 32 hexadecimal digits.
    pub trace_id: String,
}

impl RequestIds {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(&REQUEST_ID).filter(|id| is_request_id(id)).map(str::to_owned);
        let parent = text(&HeaderName::from_static("traceparent")).and_then(trace_id);
        Self {
            request_id: request_id.unwrap_or_else(ids::request_id),
            trace_id: parent.map_or_else(ids::trace_id, str::to_owned),
        }
    }
}

fn is_request_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(plain)
}

/// The trace id of a W3C `traceparent`, if that is valid.
fn trace_id(parent: &str) -> Option<&str> {
    let hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let set = |text: &str| text.bytes().any(|b| b != b'0');
    let mut parts = parent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let valid =
        known && hex(trace, 32) && set(trace) && hex(span, 16) && set(span) && hex(flags, 2);
    valid.then_some(trace)
}

/// The outermost middleware: whatever happens inside, the caller gets an answer with ids.
pub async fn surround<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let ids = RequestIds::of(request.headers());
    request.extensions_mut().insert(ids.clone());
    let method = request.method().to_string();
    let kind = Kind::of(&request);
    let envelope = Envelope::of(request.path());
    // the template, never the path, which callers choose
    let pattern = request.match_pattern();
    let metrics = request
        .app_data::<web::Data<AppState>>()
        .map(|state| Arc::clone(&state.engines.parts().metrics));
    let route = pattern.as_deref().unwrap_or(UNMATCHED);
    let (request_id, trace_id) = (&ids.request_id, &ids.trace_id);
    // of the highest level, so that every line has the ids whatever is logged
    let span = error_span!("request", request_id, trace_id, method, route);
    let inside = next.call(request).instrument(span.clone());
    let outcome = AssertUnwindSafe(inside).catch_unwind().await;
    let _in_span = span.enter();
    let answer = match outcome {
        Ok(Ok(response)) => {
            let response = response.map_into_boxed_body();
            Ok(finish(response, &ids, kind, envelope, started))
        }
        Ok(Err(error)) => {
            let problem = Problem::internal(&Failed(error.to_string()));
            Err(fail(problem, &ids, kind.error(), envelope, started))
        }
        Err(_panic) => {
            let failed = Failed("a handler panicked".to_owned());
            Err(fail(Problem::internal(&failed), &ids, kind.error(), envelope, started))
        }
    };
    if let Some(metrics) = metrics {
        let status =
            answer.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, ServiceResponse::status);
        metrics.http.answered(pattern.as_deref(), &method, status.as_u16(), started.elapsed());
        if answer.as_ref().is_ok_and(is_shut_down) {
            metrics.http.shut_down.inc();
        }
    }
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
    Ok(response.map_body(|_, body| BoxBody::new(Held { body, admission })))
}

/// A body whose request counts as served until it has been sent: an answer may be streamed.
struct Held {
    body: BoxBody,
    admission: Admission,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, admission } = self;
        body.try_into_bytes().map_err(|body| Self { body, admission })
    }
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

fn finish(
    mut response: ServiceResponse<BoxBody>,
    ids: &RequestIds,
    kind: Kind,
    envelope: Envelope,
    started: Instant,
) -> ServiceResponse<BoxBody> {
    set_headers(response.headers_mut(), ids, kind);
    let problem = response.response_mut().extensions_mut().remove::<Problem>();
    let refused = cors::refusal(response.response());
    if let Some(problem) = &refused {
        *response.response_mut().status_mut() = problem.code().status();
    }
    let problem = problem.or(refused);
    let refusal = response.response().extensions().get::<Code>().copied();
    log(response.status().as_u16(), problem.as_ref(), refusal, started);
    if let Some(problem) = &problem {
        response.response_mut().extensions_mut().insert(problem.code());
    }
    match problem {
        Some(problem) => response.map_body(|head, _| {
            let content_type = HeaderValue::from_static(envelope.content_type());
            head.headers.insert(header::CONTENT_TYPE, content_type);
            BoxBody::new(envelope.body(&problem, ids))
        }),
        None => response,
    }
}

/// Whether it says that an engine is shut down: no error of the server's.
fn is_shut_down(response: &ServiceResponse<BoxBody>) -> bool {
    response.response().extensions().get::<Code>() == Some(&Code::EmergencyShutdown)
}

fn fail(
    problem: Problem,
    ids: &RequestIds,
    kind: Kind,
    envelope: Envelope,
    started: Instant,
) -> Error {
    let mut response: HttpResponse = problem.error_response();
    response.extensions_mut().remove::<Problem>();
    set_headers(response.headers_mut(), ids, kind);
    log(response.status().as_u16(), Some(&problem), None, started);
    let content_type = HeaderValue::from_static(envelope.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    let body = BoxBody::new(envelope.body(&problem, ids));
    InternalError::from_response(problem, response.set_body(body)).into()
}

/// One line a request; a fault of ours has one more, with its cause.
fn log(status: u16, problem: Option<&Problem>, refusal: Option<Code>, started: Instant) {
    let error_code = problem.map(Problem::code).or(refusal).map(Code::text);
    if let Some(cause) = problem.and_then(Problem::cause) {
        error!(event_type = "http.fault", error_code, cause, "a request failed");
    }
    let latency_ms = started.elapsed().as_micros() as f64 / 1000.0;
    info!(event_type = "http.request", status, latency_ms, error_code, "request");
}

fn set_headers(headers: &mut HeaderMap, ids: &RequestIds, kind: Kind) {
    if let Ok(id) = HeaderValue::from_str(&ids.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    kind.set(headers);
}

#[cfg(test)]
mod tests {
    use super::{is_request_id, trace_id};

    #[test]
    fn request_ids_are_short_and_plain() {
        assert!(is_request_id("req-1.2_A"));
        assert!(is_request_id(&"x".repeat(128)));
        for bad in ["", "a b", "a\"b", "ä", "a/b", &"x".repeat(129)] {
            assert!(!is_request_id(bad), "{bad}");
        }
    }

    #[test]
    fn only_valid_trace_parents_count() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        let zeros = "0".repeat(32);
        assert_eq!(trace_id(&format!("00-{trace}-{span}-01")), Some(trace));
        assert_eq!(trace_id(&format!("cc-{trace}-{span}-01-more")), Some(trace));
        for bad in [
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{zeros}-{span}-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{span}"),
            String::new(),
        ] {
            assert_eq!(trace_id(&bad), None, "{bad}");
        }
    }
}
