//! Detects a failed push: a task of `tracing-loki` reports it only as a `tracing` event.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber, instrument::WithSubscriber as _,
    level_filters::LevelFilter, span,
};

/// The target of those events.
const TARGET: &str = "tracing_loki";

/// A subscriber for one task at a time. It is created once, because each new subscriber makes
/// `tracing` re-evaluate all callsites.
pub(super) struct Probe {
    dispatch: Dispatch,
    failed: Arc<AtomicBool>,
}

impl Probe {
    pub(super) fn new() -> Self {
        let failed = Arc::new(AtomicBool::new(false));
        Self { dispatch: Dispatch::new(Listener(Arc::clone(&failed))), failed }
    }

    /// Runs a task; true if it reported an error.
    pub(super) async fn watch(&self, task: impl Future<Output = ()>) -> bool {
        self.failed.store(false, Ordering::Relaxed);
        task.with_subscriber(self.dispatch.clone()).await;
        self.failed.load(Ordering::Relaxed)
    }
}

struct Listener(Arc<AtomicBool>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target().starts_with(TARGET)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
