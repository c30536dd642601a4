//! One loaded engine.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::{Parts, Settings, caches::Caches, metrics::EngineMetrics, open_steps::OpenSteps};
use crate::{
    domain::ids::{EngineId, Micros, Position, Sha256},
    embed::Embedder,
    store::{
        state_fold::LogDamage,
        subject::Subjects,
        writer::{View, Writer},
    },
};

/// One loaded engine.
pub struct Engine {
    pub(super) id: EngineId,
    pub(super) parts: Parts,
    pub(super) settings: Arc<Settings>,
    pub(super) subjects: Subjects,
    pub(super) writer: Writer,
    pub(super) metrics: Arc<EngineMetrics>,
    pub(super) caches: Caches,
    /// When the engine was last used, in microseconds since the Unix epoch.
    pub(super) used_at: AtomicI64,
    /// Limits the replays that run for queries of past states, over all engines.
    pub(super) replays: Arc<Semaphore>,
    /// The number of running steps.
    pub(super) running: AtomicUsize,
    /// The digest of the newest state that was asked for, with its position.
    pub(super) digest: Mutex<Option<(Position, Sha256)>>,
    pub(super) open_steps: OpenSteps,
}

impl Engine {
    /// The engine's name.
    pub const fn id(&self) -> &EngineId {
        &self.id
    }

    /// The embedder of the engine's vectors.
    pub const fn embedder(&self) -> &Embedder {
        &self.parts.embedder
    }

    /// The newest published state.
    pub fn view(&self) -> Arc<View> {
        self.writer.view()
    }

    /// Why the engine is untrusted; `None` if it is trusted. An untrusted engine refuses every command.
    pub fn damage(&self) -> Option<Arc<LogDamage>> {
        self.writer.damage()
    }

    /// The time for which the writer has had work without any progress.
    pub fn stalled_for(&self) -> Duration {
        self.writer.stalled_for()
    }

    /// The number of commands that wait for the writer.
    pub fn queue_depth(&self) -> usize {
        self.writer.depth()
    }

    /// A receiver that is notified of each newly published state. It closes when the engine is
    /// unloaded.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.writer.watch()
    }

    /// Asks the writer to fold the events that other replicas have appended and to compare the log's head
    /// with its own. Returns at once.
    pub fn catch_up(&self) {
        self.writer.catch_up();
    }

    /// The log's time as this process knows it.
    pub(super) fn log_time(&self) -> Micros {
        self.parts.store.log_time(&self.id)
    }

    pub(super) fn touch(&self) {
        self.used_at.store(crate::clock::now_micros(), Ordering::Relaxed);
    }

    pub(super) fn used_at(&self) -> Micros {
        self.used_at.load(Ordering::Relaxed)
    }

    /// True if nothing prevents unloading. An engine that is shut down stays loaded until it is
    /// resumed, here or by another replica: if nobody followed its log, its metrics would report
    /// the shutdown for ever. So does an untrusted engine: its metric is that of the loaded engine, and only
    /// the loaded state shows that events were removed from the end of its log.
    pub(super) fn is_idle(&self) -> bool {
        let view = self.view();
        self.running.load(Ordering::Acquire) == 0
            && view.state.open.is_empty()
            && view.state.shutdown.is_none()
            && self.damage().is_none()
    }
}

/// Counts a running step for as long as it exists, so that the engine is not unloaded meanwhile.
pub(super) struct Running<'a>(&'a Engine);

impl<'a> Running<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        engine.running.fetch_add(1, Ordering::AcqRel);
        engine.touch();
        Self(engine)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}
