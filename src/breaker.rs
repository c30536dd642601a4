//! A circuit breaker: who fails again and again is left alone for a while, then tried.
//!
//! *Closed*, it lets every call through and counts faults in a row; at the threshold it *opens* and
//! turns calls away for a time, which spares the other side and gives callers their answer at once.
//! Then it is *half open* and lets a few calls through, of which the first to succeed closes it and
//! the first to fail opens it again. Deliberately not here: what counts as a fault, any call, and
//! trying again. The caller says how it went.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

/// When who is turned away while a half-open breaker tries may come again: a trial tells soon.
const HALF_OPEN_RETRY: Duration = Duration::from_secs(1);

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Faults in a row that open it; with 0 it never opens.
    pub failures: u32,
    /// How long it stays open.
    pub open: Duration,
    /// Calls let through at once while it is half open.
    pub probes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures: 5, open: Duration::from_secs(30), probes: 1 }
    }
}

/// Whether calls are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All of them.
    Closed,
    /// None.
    Open,
    /// A few, to see how it goes.
    HalfOpen,
}

impl State {
    /// Its name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A circuit breaker; a clone is the same one.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    area: &'static str,
    provider: String,
    settings: Settings,
    inner: Mutex<Inner>,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed { faults: u32 },
    Open { until: Instant },
    HalfOpen { running: u32 },
}

struct Inner {
    phase: Phase,
    /// Grows with each change of the state: a verdict on a call of an earlier time does not count.
    epoch: u64,
}

impl Inner {
    const fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

impl Breaker {
    /// A closed one. Its changes are logged as `<area>.breaker_opened` and `.breaker_closed`, with
    /// the name of who is called.
    pub fn new(area: &'static str, provider: &str, settings: Settings) -> Self {
        let inner = Mutex::new(Inner { phase: Phase::Closed { faults: 0 }, epoch: 0 });
        Self(Arc::new(Shared { area, provider: provider.to_owned(), settings, inner }))
    }

    /// Lets a call through, or says how long to stay away.
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
        Ok(Permit { breaker: self.clone(), epoch: inner.epoch, told: false })
    }

    /// Whether calls are let through, as the next one would find it.
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

    fn settle(&self, epoch: u64, verdict: Verdict) {
        let mut inner = self.inner();
        if inner.epoch != epoch {
            return;
        }
        let Settings { failures, open, .. } = self.0.settings;
        match (inner.phase, verdict) {
            (Phase::Closed { .. }, Verdict::Succeeded) => {
                inner.phase = Phase::Closed { faults: 0 };
            }
            (Phase::Closed { faults }, Verdict::Failed) => {
                let faults = faults.saturating_add(1);
                inner.phase = Phase::Closed { faults };
                if failures > 0 && faults >= failures {
                    inner.enter(Phase::Open { until: Instant::now() + open });
                    drop(inner);
                    self.say_open(faults);
                }
            }
            (Phase::HalfOpen { .. }, Verdict::Succeeded) => {
                inner.enter(Phase::Closed { faults: 0 });
                drop(inner);
                self.say_closed();
            }
            (Phase::HalfOpen { .. }, Verdict::Failed) => {
                inner.enter(Phase::Open { until: Instant::now() + open });
                drop(inner);
                self.say_open(1);
            }
            // nothing was learnt: another may try
            (Phase::HalfOpen { running }, Verdict::None) => {
                inner.phase = Phase::HalfOpen { running: running.saturating_sub(1) };
            }
            (Phase::Closed { .. }, Verdict::None) | (Phase::Open { .. }, _) => {}
        }
    }

    fn say_open(&self, faults: u32) {
        let Shared { area, provider, settings, .. } = &*self.0;
        warn!(
            event_type = format!("{area}.breaker_opened"),
            provider,
            faults,
            open_seconds = settings.open.as_secs(),
            "the provider fails; its circuit breaker is open"
        );
    }

    fn say_closed(&self) {
        let Shared { area, provider, .. } = &*self.0;
        info!(
            event_type = format!("{area}.breaker_closed"),
            provider, "the provider answers again; its circuit breaker is closed"
        );
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Breaker({})", self.state().name())
    }
}

#[derive(Clone, Copy)]
enum Verdict {
    Succeeded,
    Failed,
    None,
}

/// A call that was let through. Dropped without a word, it counts neither way.
#[derive(Debug)]
#[must_use = "say how the call went"]
pub struct Permit {
    breaker: Breaker,
    epoch: u64,
    told: bool,
}

impl Permit {
    /// The other side did its work, or is there at least.
    pub fn succeeded(self) {
        self.tell(Verdict::Succeeded);
    }

    /// The other side is at fault.
    pub fn failed(self) {
        self.tell(Verdict::Failed);
    }

    fn tell(mut self, verdict: Verdict) {
        self.told = true;
        self.breaker.settle(self.epoch, verdict);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.settle(self.epoch, Verdict::None);
        }
    }
}

#[cfg(test)]
mod tests;
