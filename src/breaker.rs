//! A circuit breaker, which stops calls to a failing dependency for a while.
//!
//! *Closed*, it admits every call and counts consecutive failures. At the threshold it *opens* and rejects
//! calls for a time, which relieves the dependency and lets callers fail fast. Then it is *half open* and
//! admits a few calls: the first success closes it, the first failure opens it again. Deliberately not here:
//! the calls, their classification as failures, and retries. The caller reports each outcome.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

/// Retry delay for calls that a half-open breaker rejects: the outcome of a probe is known soon.
const HALF_OPEN_RETRY: Duration = Duration::from_secs(1);

/// The threshold, and the duration of the open state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Consecutive failures that open the breaker; 0 disables it.
    pub failures: u32,
    /// Duration of the open state.
    pub open: Duration,
    /// Concurrent calls that are admitted while half open.
    pub probes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures: 5, open: Duration::from_secs(30), probes: 1 }
    }
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Admits all calls.
    Closed,
    /// Rejects all calls.
    Open,
    /// Admits a few calls as probes.
    HalfOpen,
}

impl State {
    /// The name in responses and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A circuit breaker. Clones share its state.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    area: &'static str,
    provider: &'static str,
    model: String,
    settings: Settings,
    inner: Mutex<Inner>,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { running: u32 },
}

struct Inner {
    phase: Phase,
    /// Incremented with each change of state. The outcome of a call from an earlier epoch is ignored.
    epoch: u64,
}

impl Inner {
    const fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

impl Breaker {
    /// A closed breaker. Changes of state are logged as `<area>.breaker_opened` and
    /// `<area>.breaker_closed`, with the names of the provider and the model.
    pub fn new(
        area: &'static str,
        provider: &'static str,
        model: &str,
        settings: Settings,
    ) -> Self {
        let inner = Mutex::new(Inner { phase: Phase::Closed { failures: 0 }, epoch: 0 });
        Self(Arc::new(Shared { area, provider, model: model.to_owned(), settings, inner }))
    }

    /// Admits a call, or returns the delay before the next attempt.
    pub fn admit(&self) -> Result<Permit, Duration> {
        let mut inner = self.inner();
        let now = Instant::now();
        match inner.phase {
            Phase::Closed { .. } => {}
            Phase::Open { until } if now < until => return Err(until - now),
            Phase::Open { .. } => inner.enter(Phase::HalfOpen { running: 1 }),
            Phase::HalfOpen { running } if running < self.0.settings.probes => {
                inner.phase = Phase::HalfOpen { running: running + 1 };
            }
            Phase::HalfOpen { .. } => return Err(HALF_OPEN_RETRY),
        }
        Ok(Permit { breaker: self.clone(), epoch: inner.epoch, reported: false })
    }

    /// The delay before the next attempt, if a call would be rejected now. Admits nothing.
    pub fn check(&self) -> Result<(), Duration> {
        match self.inner().phase {
            Phase::Closed { .. } => Ok(()),
            Phase::Open { until } => {
                let wait = until.saturating_duration_since(Instant::now());
                if wait.is_zero() { Ok(()) } else { Err(wait) }
            }
            Phase::HalfOpen { running } if running < self.0.settings.probes => Ok(()),
            Phase::HalfOpen { .. } => Err(HALF_OPEN_RETRY),
        }
    }

    /// The state that the next call would find.
    pub fn state(&self) -> State {
        match self.inner().phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until } if Instant::now() < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, epoch: u64, outcome: Outcome) {
        let mut inner = self.inner();
        if inner.epoch != epoch {
            return;
        }
        let Settings { failures, open, .. } = self.0.settings;
        match (inner.phase, outcome) {
            (Phase::Closed { .. }, Outcome::Success) => {
                inner.phase = Phase::Closed { failures: 0 };
            }
            (Phase::Closed { failures: count }, Outcome::Failure) => {
                let count = count.saturating_add(1);
                inner.phase = Phase::Closed { failures: count };
                if failures > 0 && count >= failures {
                    inner.enter(Phase::Open { until: Instant::now() + open });
                    drop(inner);
                    self.log_opened(count);
                }
            }
            (Phase::HalfOpen { .. }, Outcome::Success) => {
                inner.enter(Phase::Closed { failures: 0 });
                drop(inner);
                self.log_closed();
            }
            (Phase::HalfOpen { .. }, Outcome::Failure) => {
                inner.enter(Phase::Open { until: Instant::now() + open });
                drop(inner);
                self.log_opened(1);
            }
            // frees the slot for another probe
            (Phase::HalfOpen { running }, Outcome::Unknown) => {
                inner.phase = Phase::HalfOpen { running: running.saturating_sub(1) };
            }
            (Phase::Closed { .. }, Outcome::Unknown) | (Phase::Open { .. }, _) => {}
        }
    }

    fn log_opened(&self, faults: u32) {
        let Shared { area, provider, model, settings, .. } = &*self.0;
        warn!(
            event_type = format!("{area}.breaker_opened"),
            provider,
            model,
            faults,
            open_seconds = settings.open.as_secs(),
            "the circuit breaker of the model opened"
        );
    }

    fn log_closed(&self) {
        let Shared { area, provider, model, .. } = &*self.0;
        info!(
            event_type = format!("{area}.breaker_closed"),
            provider, model, "the circuit breaker of the model closed"
        );
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Breaker({})", self.state().name())
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Success,
    Failure,
    /// The call was dropped.
    Unknown,
}

/// An admitted call. Dropped without a report, it counts as neither success nor failure.
#[derive(Debug)]
#[must_use = "report the outcome of the call"]
pub struct Permit {
    breaker: Breaker,
    epoch: u64,
    reported: bool,
}

impl Permit {
    /// Reports that the dependency responded.
    pub fn succeeded(self) {
        self.report(Outcome::Success);
    }

    /// Reports a failure of the dependency.
    pub fn failed(self) {
        self.report(Outcome::Failure);
    }

    fn report(mut self, outcome: Outcome) {
        self.reported = true;
        self.breaker.record(self.epoch, outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.reported {
            self.breaker.record(self.epoch, Outcome::Unknown);
        }
    }
}

#[cfg(test)]
mod tests;
