//! The one line that each request leaves in the log, at INFO; a fault has one more, at ERROR, with
//! its cause. A streamed answer's line is written when its body ends: only then is known how.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use actix_web::{HttpResponse, body::BoxBody, http::StatusCode};
use tracing::{Span, error, info};

use super::{Code, Problem, carried::Carried, metrics::HttpMetrics, trace};
use crate::{domain::event::RejectReason, engine::Answer};

/// What a governed step adds to the line of its request.
#[derive(Clone, Debug)]
pub struct Step {
    refused: Option<(Code, &'static str)>,
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

impl From<&Answer> for Step {
    fn from(answer: &Answer) -> Self {
        let answered = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        // a refusal is an answer with status 200; the line names it all the same
        let refused = answer.refusal().map(|reason| match reason {
            RejectReason::Moral => (Code::MoralRefusal, "moral"),
            RejectReason::Sleep => (Code::SleepRefusal, "sleep"),
        });
        Self {
            phase: answer.phase,
            number: answer.step,
            moral_value: answer.moral_score,
            moral_threshold: answer.moral_threshold,
            position: answer.position,
            provider: answered(&answer.provider),
            model: answered(&answer.model),
            input_tokens: refused.is_none().then_some(answer.usage.prompt_tokens),
            output_tokens: refused.is_none().then_some(answer.usage.completion_tokens),
            refused,
        }
    }
}

/// How a streamed answer ended; set once, by whoever streams it.
#[derive(Clone, Debug, Default)]
pub struct Ending(Arc<OnceLock<Result<Step, Problem>>>);

impl Ending {
    /// Says how.
    pub fn set(&self, ended: Result<Step, Problem>) {
        // it ends once
        drop(self.0.set(ended));
    }
}

/// Adds a step to the line of a response.
pub fn note(response: &mut HttpResponse, answer: &Answer) {
    response.extensions_mut().insert(Step::from(answer));
}

/// A line that is still to be written.
pub(super) struct Line {
    /// Of the request, in its trace.
    pub(super) span: Span,
    /// Of the request, in the log.
    pub(super) lines: Span,
    pub(super) started: Instant,
    pub(super) status: StatusCode,
    pub(super) metrics: Option<Arc<HttpMetrics>>,
}

impl Line {
    /// Writes it.
    pub(super) fn write(&self, problem: Option<&Problem>, step: Option<&Step>) {
        let _in_lines = self.lines.enter();
        let status = self.status.as_u16();
        let refused = step.and_then(|step| step.refused);
        let error_code = problem.map(Problem::code).or_else(|| refused.map(|(code, _)| code));
        let error_code = error_code.map(Code::text);
        let reason =
            problem.and_then(Problem::reason).or_else(|| refused.map(|(_, reason)| reason));
        if let Some(problem) = problem.filter(|problem| is_fault(problem)) {
            let cause = problem.cause();
            error!(event_type = "http.fault", error_code, reason, cause, "a request failed");
        }
        trace::answered(&self.span, self.status, error_code);
        let failed = problem.and_then(Problem::step);
        info!(
            event_type = "http.request",
            status,
            latency_ms = self.started.elapsed().as_micros() as f64 / 1000.0,
            error_code,
            reason,
            accepted = step.map(|step| step.refused.is_none()).or_else(|| failed.map(|_| true)),
            phase = step.map(|step| step.phase),
            step = step.map(|step| step.number).or(failed),
            moral_value = step.map(|step| step.moral_value),
            moral_threshold = step.map(|step| step.moral_threshold),
            position = step.map(|step| step.position),
            provider = step.and_then(|step| step.provider.as_deref()),
            model = step.and_then(|step| step.model.as_deref()),
            input_tokens = step.and_then(|step| step.input_tokens),
            output_tokens = step.and_then(|step| step.output_tokens),
            "request"
        );
    }

    /// A body whose end writes the line.
    pub(super) fn after(self, body: BoxBody, ending: Ending) -> BoxBody {
        let span = self.span.clone();
        Carried::boxed(body, Streamed { line: self, ending }, span)
    }
}

/// Whether somebody has to look: what passes by itself (503) and what the caller did are not faults.
fn is_fault(problem: &Problem) -> bool {
    let status = problem.code().status();
    problem.cause().is_some()
        || (status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE)
}

/// The line of a streamed answer, written when its body is dropped.
struct Streamed {
    line: Line,
    ending: Ending,
}

impl Streamed {
    /// Where it is counted that an answer broke off, if its caller is not the one to blame.
    fn broken_off(&self, problem: &Problem) -> Option<&HttpMetrics> {
        let metrics = self.line.metrics.as_deref();
        metrics.filter(|_| problem.code().status().is_server_error())
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        match self.ending.0.get() {
            Some(Ok(step)) => self.line.write(None, Some(step)),
            Some(Err(problem)) => {
                if let Some(metrics) = self.broken_off(problem) {
                    metrics.stream_failures.inc();
                }
                self.line.write(Some(problem), None);
            }
            // whoever asked went away
            None => self.line.write(Some(&Problem::new(Code::Cancelled, "")), None),
        }
    }
}
