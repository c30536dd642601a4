//! The parts of a writer that both paths of a batch use, and the end of every committed batch:
//! publication, metrics, answers.

use std::sync::{Arc, atomic::AtomicBool};

use tokio::{sync::watch, time::Instant};

use super::{
    batch::{Batch, Checkpoint},
    proposal::{Outcome, View, WriteError},
    queue::Limits,
    stall::Stall,
    trust::Trust,
};
use crate::{
    domain::ids::EngineId,
    store::{Store, StoreError, content_cache::ContentCache, metrics::EventMetrics},
};

pub(super) struct Context {
    pub(super) engine: EngineId,
    pub(super) store: Store,
    pub(super) limits: Limits,
    pub(super) content_cache: Arc<ContentCache>,
    pub(super) views: watch::Sender<Arc<View>>,
    pub(super) trust: Arc<Trust>,
    pub(super) stall: Stall,
    /// True while a [`Message::CatchUp`](super::queue::Message::CatchUp) waits.
    pub(super) reminded: Arc<AtomicBool>,
    /// Metrics of this engine's events; `None` in a program that does not expose metrics.
    pub(super) metrics: Option<Arc<EventMetrics>>,
}

impl Context {
    /// Publishes a state of the log.
    pub(super) fn publish(&self, Checkpoint { state, chain_hash, .. }: Checkpoint) {
        if let Some(state) = state {
            // whichever log is read first names the key; all writers of this process follow it
            if let Some(id) = state.mac_key {
                self.store.mac_ring().select(id);
            }
            self.store.folded(&self.engine, state.recorded_at);
            self.views.send_replace(Arc::new(View { state, chain_hash }));
        }
    }

    /// Counts a committed batch whose state is published, answers its callers and caches its contents.
    pub(super) fn complete(&self, batch: Batch, began: Instant) {
        self.count(&batch, began);
        let Batch { commands, outcomes, records, contents, .. } = batch;
        Batch::respond(commands, outcomes);
        self.content_cache.insert_committed(&records, contents);
    }

    /// Counts an attempt that the database rolled back; an unknown outcome does not count.
    pub(super) fn count_conflict(&self, cause: &WriteError) {
        if let WriteError::Store(StoreError::Serialization(_)) = cause {
            self.store.metrics().conflicts.inc();
        }
    }

    /// Events that an earlier attempt brought into the log are counted too: they are in the outcomes.
    fn count(&self, batch: &Batch, began: Instant) {
        let mut count = 0;
        for outcome in batch.outcomes.iter().chain(&batch.attestation) {
            if let Ok(Outcome::Committed(committed)) = outcome {
                let events = || committed.events.iter().map(|(_, event)| event);
                self.store.metrics().committed(events());
                if let Some(metrics) = &self.metrics {
                    metrics.committed(events());
                }
                count += committed.events.len();
            }
        }
        if count == 0 {
            return;
        }
        self.store.metrics().append.observe_time(began.elapsed());
        self.store.metrics().batch_events.observe(count as f64);
        if let Some(metrics) = &self.metrics {
            metrics.threshold_is(self.views.borrow().state.threshold(None));
        }
    }
}
