//! Gives every request its ids, spans, response headers, error body, metrics and access log entry.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use actix_web::{
    Error, HttpMessage as _,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    middleware::Next,
    web,
};
use futures_util::FutureExt as _;
use tracing::{Instrument as _, Span, error_span, field::Empty};

use super::{cors, security_headers::SecurityHeaders};
use crate::http::{
    AppState, Code, Problem,
    access_log::{AccessLog, StepFields, StreamOutcome},
    departure::Departure,
    metrics::UNMATCHED,
    problem::envelope::Envelope,
    request_id::{REQUEST_ID, RequestIds},
    trace_context::{self, TRACE_RESPONSE, TraceContext},
    turned_away,
};

/// Everything about a request that its response needs.
struct RequestContext {
    ids: RequestIds,
    trace: TraceContext,
    security: SecurityHeaders,
    envelope: Envelope,
    started: Instant,
    trace_span: Span,
    log_span: Span,
    state: Option<web::Data<AppState>>,
    method: &'static str,
    /// The path template of the route; a path is chosen by clients and must not become a label.
    pattern: Option<String>,
}

/// The outermost middleware: the client gets a response with ids even if a handler panics.
pub(in crate::http) async fn request_context<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let context = RequestContext::new(&request);
    let departure = Departure::watch(&mut request);
    let mut unanswered = Unanswered { context: &context, is_answered: false };
    request.extensions_mut().insert(context.ids.clone());
    let inner = next.call(request).instrument(context.log_span.clone());
    let inner = inner.instrument(context.trace_span.clone());
    let outcome = tokio::select! {
        biased;
        outcome = AssertUnwindSafe(inner).catch_unwind() => outcome,
        () = departure.left() => return Err(Problem::new(Code::Cancelled, "").into()),
    };
    unanswered.is_answered = true;
    let _in_trace = context.trace_span.enter();
    let result = match outcome {
        Ok(Ok(response)) => Ok(context.finish(response.map_into_boxed_body())),
        Ok(Err(error)) => Err(context.fail(&error)),
        Err(_panic) => {
            let problem = Problem::internal(&Failure("a handler panicked".to_owned()));
            Err(context.fail(&problem.into()))
        }
    };
    context.count(&result);
    result
}

/// Logs and counts a request whose client disconnects before the response: its handler is dropped.
struct Unanswered<'c> {
    context: &'c RequestContext,
    is_answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let problem = Problem::new(Code::Cancelled, "");
        let context = self.context;
        let status = problem.code().status();
        context.access_log(status).write(Some(&problem), None);
        if let Some(state) = &context.state {
            let (pattern, latency) = (context.pattern.as_deref(), context.started.elapsed());
            state.metrics.answered(pattern, context.method, status.as_u16(), latency);
        }
    }
}

/// Why a request ended without a response.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

impl RequestContext {
    fn new(request: &ServiceRequest) -> Self {
        let started = Instant::now();
        let pattern = request.match_pattern();
        let (trace_span, trace) = trace_context::begin(request, pattern.as_deref());
        let ids = RequestIds::new(request.headers(), trace.trace_id.clone());
        trace_span.record("mlsdm.request_id", ids.request_id());
        trace_span.record("mlsdm.request_uuid", &*ids.id);
        let method = trace_context::method(request.method());
        let log_span = log_span(&ids, &trace, method, pattern.as_deref().unwrap_or(UNMATCHED));
        let state = request.app_data::<web::Data<AppState>>();
        Self {
            ids,
            trace,
            security: SecurityHeaders::new(request),
            envelope: Envelope::of(request.path(), request.headers()),
            started,
            trace_span,
            log_span,
            state: state.cloned(),
            method,
            pattern,
        }
    }

    /// Completes a response: headers, error body, access log.
    fn finish(&self, mut response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        self.set_headers(response.headers_mut(), self.security);
        let problem = response.response_mut().extensions_mut().remove::<Problem>();
        let denied_origin = cors::problem(response.response());
        if let Some(problem) = &denied_origin {
            *response.response_mut().status_mut() = problem.code().status();
        }
        let problem = problem.or(denied_origin);
        let log = self.access_log(response.status());
        let stream = response.response_mut().extensions_mut().remove::<StreamOutcome>();
        if let (None, Some(outcome)) = (&problem, stream) {
            return response.map_body(|_, body| log.write_after(body, outcome));
        }
        let step = response.response_mut().extensions_mut().remove::<StepFields>();
        log.write(problem.as_ref(), step.as_ref());
        let Some(problem) = problem else {
            return trace_context::retain_span(response, &self.trace_span);
        };
        if !problem.names_step() {
            response.response_mut().extensions_mut().insert(problem.code());
        }
        response.map_body(|head, _| self.error_body(&mut head.headers, &problem))
    }

    /// The response to a request whose handler returned none.
    fn fail(&self, error: &Error) -> Error {
        let problem = match error.as_error::<Problem>() {
            Some(problem) => problem.clone(),
            None => Problem::internal(&Failure(error.to_string())),
        };
        // with the headers that other middleware adds to the response of an error, such as those of CORS
        let mut response = error.error_response();
        *response.status_mut() = problem.code().status();
        response.extensions_mut().remove::<Problem>();
        self.set_headers(response.headers_mut(), self.security.of_error());
        self.access_log(response.status()).write(Some(&problem), None);
        let body = self.error_body(response.headers_mut(), &problem);
        InternalError::from_response(problem, response.set_body(body)).into()
    }

    fn error_body(&self, headers: &mut HeaderMap, problem: &Problem) -> BoxBody {
        let content_type = HeaderValue::from_static(self.envelope.content_type());
        headers.insert(header::CONTENT_TYPE, content_type);
        BoxBody::new(self.envelope.value(problem, &self.ids).to_string())
    }

    fn set_headers(&self, headers: &mut HeaderMap, security: SecurityHeaders) {
        let texts = [(REQUEST_ID, self.ids.request_id()), (TRACE_RESPONSE, &self.trace.response())];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        security.insert_into(headers);
    }

    fn access_log(&self, status: StatusCode) -> AccessLog {
        AccessLog {
            trace_span: self.trace_span.clone(),
            log_span: self.log_span.clone(),
            started: self.started,
            status,
            metrics: self.state.as_ref().map(|state| Arc::clone(&state.metrics)),
        }
    }

    fn count(&self, result: &Result<ServiceResponse<BoxBody>, Error>) {
        let Some(state) = &self.state else { return };
        let metrics = &state.metrics;
        let status = match result {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        let latency = self.started.elapsed();
        metrics.answered(self.pattern.as_deref(), self.method, status.as_u16(), latency);
        let Ok(response) = result else { return };
        let code = response.response().extensions().get::<Code>().copied();
        // an engine that an operator has shut down is not an error of the server
        if code == Some(Code::EmergencyShutdown) {
            metrics.shutdown_refusals.inc();
        }
        if let Some(code) = code {
            turned_away::count(state, response.request(), self.pattern.as_deref(), code);
        }
    }
}

fn log_span(ids: &RequestIds, trace: &TraceContext, method: &str, route: &str) -> Span {
    // level ERROR, so that every log line has the ids at any log level; code further inside records
    // the empty fields
    error_span!(
        "request",
        request_id = ids.request_id(),
        request_uuid = ids.id,
        trace_id = trace.trace_id,
        span_id = trace.span_id,
        method,
        route,
        engine = Empty,
        prompt_length = Empty
    )
}
