//! Facts about the server that the logs record without a request: those on requests that left no step.

use std::{sync::Arc, time::Duration};

use super::{
    Engine, EngineError, Engines,
    background::stays,
    refusals::{Counts, LogMinute, minute},
};
use crate::{
    domain::{
        event::{AccessDenied, Fact, RequestsRefused},
        ids::{EngineId, Micros},
    },
    store::writer::WriteError,
};

/// Interval between two checks for minutes that have ended.
const CHECK: Duration = Duration::from_secs(1);

impl Engines {
    /// Counts a request that was turned away before a verdict of this engine. `code` is from a closed
    /// set.
    pub fn count_refused(&self, engine: &EngineId, code: &'static str) {
        self.count(engine.clone(), code);
    }

    /// Counts a denied access. `reason` is from a closed set.
    pub fn count_denied(&self, reason: &str) {
        self.count(EngineId::system(), reason);
    }

    fn count(&self, log: EngineId, code: &str) {
        let time = self.parts().store.log_time(&log);
        self.refusals().count(log, time, code);
    }

    /// Records the counts of the minutes that have ended by the logs' clocks.
    pub async fn record_refusals(&self) {
        let store = self.parts().store.clone();
        self.record(|log, start| start < minute(store.log_time(log))).await;
    }

    /// Records all counts, also those of the current minute. Called after the last request.
    pub async fn record_all_refusals(&self) {
        self.record(|_, _| true).await;
    }

    /// Records counts each time a minute ends.
    pub(super) async fn keep_recording_refusals(&self) {
        while stays(self.tasks(), CHECK).await {
            self.record_refusals().await;
        }
    }

    async fn record(&self, is_due: impl Fn(&EngineId, Micros) -> bool) {
        for (minute, counts) in self.refusals().take(is_due) {
            match self.record_minute(&minute, &counts).await {
                Ok(()) => {}
                Err(error) if is_temporary(&error) => self.refusals().put_back(&minute, &counts),
                Err(error) => {
                    tracing::warn!(engine = %minute.0, %error, "could not record the refused requests of a minute");
                }
            }
        }
        let lost = self.refusals().take_lost();
        if lost > 0 {
            tracing::warn!(
                requests = lost,
                "refused requests were not recorded, because the logs could not be written"
            );
        }
    }

    async fn record_minute(
        &self,
        (log, minute): &LogMinute,
        counts: &Counts,
    ) -> Result<(), EngineError> {
        let (minute, counts) = (*minute, counts.clone());
        let fact = if log.is_system() {
            Fact::AccessDenied(AccessDenied { minute, counts })
        } else {
            Fact::RequestsRefused(RequestsRefused { minute, counts })
        };
        let engine = self.loaded_engine(log).ok_or(WriteError::Closed)?;
        engine.record_fact(fact).await
    }

    /// The engine of a log if it is in memory. Background work loads none: in a server that stops, an
    /// engine that is loaded again would abandon running steps, and its writer would not end.
    pub(super) fn loaded_engine(&self, log: &EngineId) -> Option<Arc<Engine>> {
        self.in_memory().into_iter().find(|engine| engine.id() == log)
    }
}

/// True if the log may accept the counts later: the database is back, or the engine is loaded again.
fn is_temporary(error: &EngineError) -> bool {
    let EngineError::Write(error) = error else { return false };
    matches!(
        error,
        WriteError::Store(_)
            | WriteError::QueueFull
            | WriteError::Overdue
            | WriteError::Untrusted(_)
            | WriteError::Closed
    )
}

#[cfg(test)]
mod tests;
