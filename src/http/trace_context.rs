//! The trace context of a request (W3C) and its server span (OpenTelemetry HTTP conventions).
//!
//! Attributes come from closed sets or are ids: `url.path` is the route template; query, host, client
//! address and user agent are deliberately left out. The span ends when the response head is sent, or
//! for a streamed response when the stream ends.

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode, Version, header::HeaderName},
};
use tracing::{Span, field::Empty, info_span};

use super::{paths::is_probe, retain_body::RetainBody};
use crate::{
    ids,
    telemetry::traces::{self, RemoteParent, TARGET},
};

/// The response header with the trace context (W3C Trace Context Level 2 draft).
pub(super) const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// The request header with the client's trace context.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The value of `http.request.method` for an unknown method.
const OTHER: &str = "_OTHER";

/// The position of a request in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TraceContext {
    /// 32 hexadecimal digits.
    pub(super) trace_id: String,
    /// 16 hexadecimal digits.
    pub(super) span_id: String,
    /// True if the span is exported.
    pub(super) sampled: bool,
}

impl TraceContext {
    /// The value of the `traceresponse` header.
    pub(super) fn response(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Opens the server span of a request, as a child of the client's span if `traceparent` names one.
/// Health probes get no span, because they are frequent and carry no information.
pub(super) fn begin(request: &ServiceRequest, route: Option<&str>) -> (Span, TraceContext) {
    let parent = request.headers().get(TRACE_PARENT).and_then(|value| value.to_str().ok());
    let parent = parent.and_then(RemoteParent::parse);
    let span = if is_probe(request.path()) { Span::none() } else { span(request, route) };
    if let Some(parent) = &parent {
        parent.adopt(&span);
    }
    let context = match traces::context_of(&span) {
        Some(ids) => TraceContext {
            trace_id: ids.trace_id().to_string(),
            span_id: ids.span_id().to_string(),
            sampled: ids.is_sampled(),
        },
        // tracing is disabled; the request gets a trace id all the same
        None => TraceContext {
            trace_id: parent.map_or_else(ids::trace_id, |parent| parent.trace_id()),
            span_id: ids::span_id(),
            sampled: false,
        },
    };
    (span, context)
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
        mlsdm.request_uuid = Empty,
        mlsdm.error_code = Empty,
    )
}

/// Adds the status and the error code to the span.
pub(super) fn record_response(span: &Span, status: StatusCode, error_code: Option<&str>) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if let Some(code) = error_code {
        span.record("mlsdm.error_code", code);
    }
    if status.is_server_error() {
        traces::failed(span, status.as_str());
    }
}

/// Keeps the span open until a streamed response has been sent.
pub(super) fn retain_span(
    response: ServiceResponse<BoxBody>,
    span: &Span,
) -> ServiceResponse<BoxBody> {
    if span.is_disabled() || response.response().body().size() != BodySize::Stream {
        return response;
    }
    let span = span.clone();
    response.map_body(|_, body| RetainBody::boxed(body, (), span))
}

fn name(method: &str, route: Option<&str>) -> String {
    match (method, route) {
        (OTHER, _) => "HTTP".to_owned(),
        (method, None) => method.to_owned(),
        (method, Some(route)) => format!("{method} {route}"),
    }
}

/// The method, from a closed set.
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
