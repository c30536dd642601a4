//! The time at which a provider was last active: the idle limit of a call counts from it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// When a provider was last active. The time for which a slow client is awaited is not idle time.
#[derive(Debug, Default)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    waits_for_client: bool,
}

impl Activity {
    /// Notes that bytes arrived.
    pub(super) fn touch(&self) {
        self.state().last = Some(Instant::now());
    }

    /// Suspends the idle limit until the guard is dropped.
    pub(super) fn wait_for_client(self: &Arc<Self>) -> Waiting {
        self.state().waits_for_client = true;
        Waiting(Arc::clone(self))
    }

    /// The time at which the call is idle for too long; `first` if nothing has arrived.
    pub(super) fn limit(&self, first: Instant, idle: Duration) -> Instant {
        self.last().map_or(first, |last| last + idle)
    }

    /// The time since when the provider has been silent, in a call that began at this time.
    pub(super) fn silent_since(&self, began: Instant) -> Instant {
        self.last().map_or(began, |last| last.max(began))
    }

    fn last(&self) -> Option<Instant> {
        let state = self.state();
        if state.waits_for_client { Some(Instant::now()) } else { state.last }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The idle limit is suspended until this is dropped.
pub(super) struct Waiting(Arc<Activity>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waits_for_client = false;
        state.last = Some(Instant::now());
    }
}
