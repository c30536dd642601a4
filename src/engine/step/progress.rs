//! The progress of a step. It outlives the future that asks the model, so that the ending of a
//! cancelled step records what was sent to which provider.

use tokio::{sync::mpsc, time::Instant};

use super::request::{Step, milliseconds};
use crate::{
    domain::event::{ContextUse, Latency},
    llm::{CallLog, Delta, Sink},
};

/// The partial results of a step that runs.
pub(super) struct Progress {
    /// The part of the answer that was received.
    pub(super) sink: Sink,
    /// The memory context, once it was retrieved.
    pub(super) context: Option<ContextUse>,
    /// The calls of models.
    pub(super) calls: CallLog,
    pub(super) latency: Latency,
    /// The time at which the model was called, while it is called.
    called_at: Option<Instant>,
}

impl Progress {
    /// The progress of a new step. The answer is sent to `deltas` as the model produces it.
    pub(super) fn new(step: Step<'_>, deltas: Option<mpsc::Sender<Delta>>) -> Self {
        let dialect = step.request.chat.as_ref().and_then(|chat| chat.extra.dialect);
        let limit = step.engine.settings.answer_bytes;
        Self {
            sink: Sink::new(deltas)
                .with_dialect(dialect)
                .with_limit(limit)
                .with_lease(step.caller.lease.clone()),
            context: None,
            calls: CallLog::default(),
            latency: Latency::default(),
            called_at: None,
        }
    }

    /// Starts the time of the model.
    pub(super) fn call(&mut self) {
        self.called_at = Some(Instant::now());
    }

    /// Ends the times of the model and of the step.
    pub(super) fn end(&mut self, step: Step<'_>) {
        self.calls.cancel();
        if let Some(called_at) = self.called_at.take() {
            self.latency.model_ms = milliseconds(called_at.elapsed());
            let first = self.sink.first_delta_at().filter(|_| self.sink.is_streaming());
            self.latency.first_piece_ms =
                first.map(|first| milliseconds(first.duration_since(called_at)));
        }
        self.latency.total_ms = step.elapsed_ms();
    }
}
