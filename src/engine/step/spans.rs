//! The spans of a step. They hold numbers, never contents or names.
//!
//! Integers are signed: the exporter would write unsigned ones as strings.

use tracing::{Span, field::Empty, info_span};

use crate::{
    domain::{event::ContextUse, ids::EngineId},
    telemetry::traces::TARGET,
};

/// Covers the admission, from scoring to the commit of `step.admitted` or `step.rejected`.
pub(super) fn decide(engine: &EngineId) -> Span {
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

/// Covers the embedding of the prompt.
pub(super) fn embed(embedder: &str) -> Span {
    info_span!(
        target: TARGET,
        "mlsdm.embed",
        otel.status_code = Empty,
        error.type = Empty,
        mlsdm.embedder = embedder,
    )
}

/// Covers the search of the memory and the reading of the contents it finds.
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

/// Records the result of the search.
pub(super) fn record_retrieval(span: &Span, context: &ContextUse) {
    span.record("mlsdm.candidates", context.candidates as i64);
    span.record("mlsdm.context_items", context.used.len() as i64);
}
