//! Hands commands to the writer and waits for their commit, under the span `mlsdm.append`.

use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use super::Engine;
use crate::{
    domain::ids::{EngineId, Position, Sha256},
    store::writer::{Committed, Outcome, Proposal, WriteError},
    telemetry::traces::{self, TARGET},
};

/// The position and chain hash of a command's event.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// The position of the event, or of the last event if nothing had to be recorded.
    pub position: Position,
    /// The chain hash at that position.
    pub chain_hash: Sha256,
}

/// Appends a command to the log. Returns after the commit, or with the reason for a refusal.
pub(super) async fn propose(engine: &Engine, proposal: Proposal) -> Result<Outcome, WriteError> {
    let submitted = Instant::now();
    let span = span(&engine.id);
    let outcome = engine.writer.propose(proposal).instrument(span.clone()).await;
    record_outcome(&span, &outcome);
    engine.metrics.steps.overhead.append.observe_time(submitted.elapsed());
    outcome
}

/// Appends a command that claims no idempotency key. It waits no longer than a request may; the command
/// may be recorded after that.
pub(super) async fn commit(engine: &Engine, proposal: Proposal) -> Result<Committed, WriteError> {
    let limit = engine.settings.timeout;
    let outcome = timeout(limit, propose(engine, proposal)).await;
    match outcome.unwrap_or(Err(WriteError::Overdue))? {
        Outcome::Committed(committed) => Ok(committed),
        Outcome::Duplicate(_) => Err(WriteError::Defect(
            "a command without an idempotency key was answered as a duplicate".to_owned(),
        )),
    }
}

fn span(engine: &EngineId) -> Span {
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

/// Records the position of the command's last event. Integers are signed: the exporter would write
/// unsigned ones as strings.
fn record_outcome(span: &Span, outcome: &Result<Outcome, WriteError>) {
    match outcome {
        Ok(Outcome::Committed(committed)) => {
            if let Some((envelope, _)) = committed.events.last() {
                span.record("mlsdm.position", envelope.position as i64);
            }
            span.record("mlsdm.events", committed.events.len() as i64);
        }
        Ok(Outcome::Duplicate(first)) => {
            span.record("mlsdm.position", first.position as i64);
        }
        Err(error) => record_error(span, error),
    }
}

/// Marks a span as failed, unless the error is the caller's.
pub(super) fn record_error(span: &Span, error: &WriteError) {
    let kind = match error {
        WriteError::Refused(_) | WriteError::OtherBody | WriteError::SubjectErased => return,
        WriteError::QueueFull => "queue_full",
        WriteError::Closed => "closed",
        WriteError::Overdue => "overdue",
        WriteError::Store(_) => "store",
        WriteError::InDoubt(_) => "in_doubt",
        WriteError::Untrusted(_) => "untrusted",
        WriteError::Seal(_) => "seal",
        WriteError::Defect(_) => "defect",
    };
    traces::failed(span, kind);
}
