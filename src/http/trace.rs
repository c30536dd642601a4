//! The span of a request, with the attributes that OpenTelemetry's stable HTTP conventions name.
//!
//! Only what comes from closed sets, and ids: `url.path` is the route's template, and the query, the host,
//! the address and the agent of a caller are left out. A span ends with the head of its answer, or of one
//! that is streamed with the end of the stream.

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode, Version, header::HeaderName},
};
use tracing::{Span, field::Empty, info_span};

use super::{carried::Carried, request::is_probe};
use crate::{
    ids,
    telemetry::traces::{self, Remote, TARGET},
};

/// The trace an answer belongs to.
pub(super) const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// The caller's span.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The method of a span whose request has an odd one.
const OTHER: &str = "_OTHER";

/// Where a request is in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// 32 hexadecimal digits.
    pub(super) trace_id: String,
    /// 16 hexadecimal digits.
    pub(super) span_id: String,
    /// Whether the span is exported.
    pub(super) sampled: bool,
}

impl Place {
    /// As `traceresponse` has it.
    pub(super) fn response(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Begins the span of a request for this route: a child of the caller's, if it names one. Probes have
/// none: they come every second and say nothing.
pub(super) fn begin(request: &ServiceRequest, route: Option<&str>) -> (Span, Place) {
    let parent = request.headers().get(TRACE_PARENT).and_then(|value| value.to_str().ok());
    let parent = parent.and_then(Remote::parse);
    let span = if is_probe(request.path()) { Span::none() } else { span(request, route) };
    if let Some(parent) = &parent {
        parent.adopt(&span);
    }
    let place = match traces::ids(&span) {
        Some(ids) => Place {
            trace_id: ids.trace_id().to_string(),
            span_id: ids.span_id().to_string(),
            sampled: ids.is_sampled(),
        },
        // no traces: requests belong to one all the same
        None => Place {
            trace_id: parent.map_or_else(ids::trace_id, |parent| parent.trace_id()),
            span_id: ids::span_id(),
            sampled: false,
        },
    };
    (span, place)
}

fn span(request: &ServiceRequest, route: Option<&str>) -> Span {
    let method = method(request.method());
    info_span!(
        target: TARGET,
        "request",
        otel.name = name(method, route),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        url.scheme = if request.app_config().secure() { "https" } else { "http" },
        url.path = route,
        network.protocol.version = version(request.version()),
        error.type = Empty,
        mlsdm.request_id = Empty,
        mlsdm.error_code = Empty,
    )
}

/// Tells the span how the request was answered.
pub(super) fn answered(span: &Span, status: StatusCode, error_code: Option<&str>) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if let Some(code) = error_code {
        span.record("mlsdm.error_code", code);
    }
    if status.is_server_error() {
        traces::failed(span, status.as_str());
    }
}

/// Keeps the span open until a streamed answer has been sent.
pub(super) fn until_sent(
    response: ServiceResponse<BoxBody>,
    span: &Span,
) -> ServiceResponse<BoxBody> {
    if span.is_disabled() || response.response().body().size() != BodySize::Stream {
        return response;
    }
    let span = span.clone();
    response.map_body(|_, body| Carried::boxed(body, (), span))
}

fn name(method: &str, route: Option<&str>) -> String {
    match (method, route) {
        (OTHER, _) => "HTTP".to_owned(),
        (method, None) => method.to_owned(),
        (method, Some(route)) => format!("{method} {route}"),
    }
}

/// A method from a closed set.
pub(super) fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
