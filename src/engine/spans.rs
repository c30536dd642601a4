//! The spans of a step: what is done with it, in numbers. No text, and nobody's name.
//!
//! Integers are signed: the others would be exported as texts.

use tracing::{Instrument as _, Span, field::Empty, info_span};

use super::generate::{Admission, StepError};
use crate::{
    domain::{event::ContextUse, ids::EngineId},
    store::writer::{Outcome, WriteError},
    telemetry::traces::{self, TARGET},
};

/// Until a request is admitted or refused, and that is recorded.
fn decide(engine: &EngineId) -> Span {
    info_span!(
        target: TARGET,
        "mlsdm.decide",
        otel.status_code = Empty,
        error.type = Empty,
        mlsdm.engine = %engine,
        mlsdm.step = Empty,
        mlsdm.accepted = Empty,
        mlsdm.reason = Empty,
        mlsdm.moral.score = Empty,
        mlsdm.moral.threshold = Empty,
        mlsdm.replayed = Empty,
    )
}

/// The span around an admission. A refusal is no error.
pub(super) async fn deciding(
    engine: &EngineId,
    admitting: impl Future<Output = Result<Admission, StepError>>,
) -> Result<Admission, StepError> {
    let span = decide(engine);
    let admission = admitting.instrument(span.clone()).await;
    decided(&span, &admission);
    admission
}

fn decided(span: &Span, admission: &Result<Admission, StepError>) {
    match admission {
        Ok(Admission::Admitted(admitted)) => {
            span.record("mlsdm.accepted", true);
            span.record("mlsdm.step", admitted.step as i64);
            span.record("mlsdm.moral.score", admitted.event.moral.value);
            span.record("mlsdm.moral.threshold", admitted.event.moral.threshold_before);
        }
        Ok(Admission::Rejected(answer)) => {
            span.record("mlsdm.accepted", false);
            span.record("mlsdm.step", answer.step as i64);
            span.record("mlsdm.reason", answer.note);
            span.record("mlsdm.moral.score", answer.moral_score);
            span.record("mlsdm.moral.threshold", answer.moral_threshold);
        }
        Ok(Admission::Earlier(_)) => {
            span.record("mlsdm.replayed", true);
        }
        Err(StepError::Write(error)) => write_failed(span, error),
        Err(_) => {}
    }
}

/// While a prompt is made a vector.
pub(super) fn embed(embedder: &str) -> Span {
    info_span!(
        target: TARGET,
        "mlsdm.embed",
        otel.status_code = Empty,
        error.type = Empty,
        mlsdm.embedder = embedder,
    )
}

/// While the memory is searched, and what was found is read.
pub(super) fn retrieve() -> Span {
    info_span!(
        target: TARGET,
        "mlsdm.retrieve",
        otel.status_code = Empty,
        error.type = Empty,
        mlsdm.candidates = Empty,
        mlsdm.context_items = Empty,
    )
}

/// Tells what was found.
pub(super) fn retrieved(span: &Span, context: &ContextUse) {
    span.record("mlsdm.candidates", context.candidates as i64);
    span.record("mlsdm.context_items", context.used.len() as i64);
}

/// While a command waits to be in the log.
pub(super) fn append(engine: &EngineId) -> Span {
    info_span!(
        target: TARGET,
        "mlsdm.append",
        otel.status_code = Empty,
        error.type = Empty,
        mlsdm.engine = %engine,
        mlsdm.position = Empty,
        mlsdm.events = Empty,
    )
}

/// Tells where the command's last event is.
pub(super) fn appended(span: &Span, outcome: &Result<Outcome, WriteError>) {
    match outcome {
        Ok(Outcome::Committed(committed)) => {
            if let Some((envelope, _)) = committed.events.last() {
                span.record("mlsdm.position", envelope.position as i64);
            }
            span.record("mlsdm.events", committed.events.len() as i64);
        }
        Ok(Outcome::Duplicate(earlier)) => {
            span.record("mlsdm.position", earlier.position as i64);
        }
        Err(error) => write_failed(span, error),
    }
}

fn write_failed(span: &Span, error: &WriteError) {
    let kind = match error {
        // the caller's
        WriteError::Refused(_) | WriteError::OtherBody | WriteError::SubjectErased => return,
        WriteError::QueueFull => "queue_full",
        WriteError::Closed => "closed",
        WriteError::Store(_) => "store",
        WriteError::Damage(_) => "damage",
        WriteError::Seal(_) => "seal",
        WriteError::Defect(_) => "defect",
    };
    traces::failed(span, kind);
}
