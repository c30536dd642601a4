//! The access log: one line per request at INFO, and one more at ERROR for a fault, with its cause.
//!
//! The line of a streamed answer is written when its body ends, because its outcome is not known
//! before.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use actix_web::{HttpResponse, body::BoxBody, http::StatusCode};
use tracing::{Span, error, info};

use super::{Code, Problem, metrics::HttpMetrics, retain_body::RetainBody, trace_context};
use crate::{domain::event::RejectReason, engine::Answer, llm::UnreachableCause};

/// The fields that a governed step adds to the access log.
#[derive(Clone, Debug)]
pub struct StepFields {
    rejected: Option<(Code, &'static str)>,
    phase: &'static str,
    number: u64,
    moral_value: f64,
    moral_threshold: f64,
    position: u64,
    provider: Option<String>,
    model: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl From<&Answer> for StepFields {
    fn from(answer: &Answer) -> Self {
        let non_empty = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        // a rejection is an answer with status 200, but the log has its code
        let rejected = answer.refusal().map(|reason| match reason {
            RejectReason::Moral => (Code::MoralRefusal, "moral"),
            RejectReason::Sleep => (Code::SleepRefusal, "sleep"),
        });
        Self {
            phase: answer.phase,
            number: answer.step,
            moral_value: answer.moral_score,
            moral_threshold: answer.moral_threshold,
            position: answer.position,
            provider: non_empty(&answer.provider),
            model: non_empty(&answer.model),
            input_tokens: rejected.is_none().then_some(answer.usage.prompt_tokens),
            output_tokens: rejected.is_none().then_some(answer.usage.completion_tokens),
            rejected,
        }
    }
}

/// The outcome of a streamed answer, which the stream sets and the access log reads when the stream
/// ends.
#[derive(Clone, Debug, Default)]
pub struct StreamOutcome(Arc<OnceLock<Result<StepFields, Problem>>>);

impl StreamOutcome {
    /// Sets the outcome; the first one counts.
    pub fn set(&self, outcome: Result<StepFields, Problem>) {
        drop(self.0.set(outcome));
    }
}

/// Adds the fields of a step to the access log of its response.
pub fn record_step(response: &mut HttpResponse, answer: &Answer) {
    response.extensions_mut().insert(StepFields::from(answer));
}

/// The access log entry of one response.
pub(super) struct AccessLog {
    pub(super) trace_span: Span,
    pub(super) log_span: Span,
    pub(super) started: Instant,
    pub(super) status: StatusCode,
    pub(super) metrics: Option<Arc<HttpMetrics>>,
}

impl AccessLog {
    /// Writes the entry now.
    pub(super) fn write(&self, problem: Option<&Problem>, step: Option<&StepFields>) {
        let _in_span = self.log_span.enter();
        let status = self.status.as_u16();
        let rejected = step.and_then(|step| step.rejected);
        let error_code = problem.map(Problem::code).or_else(|| rejected.map(|(code, _)| code));
        let error_code = error_code.map(Code::text);
        let reason =
            problem.and_then(Problem::reason).or_else(|| rejected.map(|(_, reason)| reason));
        if let Some(problem) = problem.filter(|problem| is_fault(problem)) {
            let cause = problem.cause();
            error!(event_type = "http.fault", error_code, reason, cause, "request failed");
        }
        trace_context::record_response(&self.trace_span, self.status, error_code);
        let failed = problem.and_then(Problem::step);
        let call = problem.and_then(Problem::call);
        info!(
            event_type = "http.request",
            status,
            latency_ms = self.started.elapsed().as_micros() as f64 / 1000.0,
            error_code,
            reason,
            accepted = step.map(|step| step.rejected.is_none()).or_else(|| failed.map(|_| true)),
            phase = step.map(|step| step.phase),
            step = step.map(|step| step.number).or(failed),
            moral_value = step.map(|step| step.moral_value),
            moral_threshold = step.map(|step| step.moral_threshold),
            position = step.map(|step| step.position),
            provider = step
                .and_then(|step| step.provider.as_deref())
                .or_else(|| call.map(|call| call.provider.as_str())),
            provider_status = call.and_then(|call| call.status),
            provider_code = call.and_then(|call| call.error).map(|error| error.code),
            unreachable_cause = call.and_then(|call| call.cause).map(UnreachableCause::name),
            model = step.and_then(|step| step.model.as_deref()),
            input_tokens = step.and_then(|step| step.input_tokens),
            output_tokens = step.and_then(|step| step.output_tokens),
            "request"
        );
    }

    /// A body that writes the entry when it ends.
    pub(super) fn write_after(self, body: BoxBody, outcome: StreamOutcome) -> BoxBody {
        let span = self.trace_span.clone();
        RetainBody::boxed(body, StreamLog { log: self, outcome }, span)
    }
}

/// True if an operator should look into it: not for client errors, nor for 503, which is temporary.
fn is_fault(problem: &Problem) -> bool {
    let status = problem.code().status();
    problem.cause().is_some()
        || (status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE)
}

/// The access log entry of a streamed answer, written when its body is dropped.
struct StreamLog {
    log: AccessLog,
    outcome: StreamOutcome,
}

impl StreamLog {
    /// Counts a stream that failed after its status 200 had been sent, unless the client caused it.
    fn count_failure(&self, problem: &Problem) {
        if problem.code().status().is_server_error()
            && let Some(metrics) = &self.log.metrics
        {
            metrics.stream_failures.inc();
        }
    }
}

impl Drop for StreamLog {
    fn drop(&mut self) {
        match self.outcome.0.get() {
            Some(Ok(step)) => self.log.write(None, Some(step)),
            Some(Err(problem)) => {
                self.count_failure(problem);
                self.log.write(Some(problem), None);
            }
            // the client disconnected
            None => self.log.write(Some(&Problem::new(Code::Cancelled, "")), None),
        }
    }
}
