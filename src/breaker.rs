//! A circuit breaker: who fails again and again is left alone for a while, then tried once.
//!
//! Closed, it lets every call through and counts faults in a row. At the limit it opens and turns
//! calls away for a time, which spares the other side and gives callers their answer at once. Then
//! it lets one call through (half-open): its success closes the breaker, its fault opens it again.
//! Deliberately not here: what counts as a fault, and any call. The caller says how it went.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// When who is turned away during the one call of a half-open breaker may come again.
const HALF_OPEN_RETRY: Duration = Duration::from_secs(1);

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Faults in a row that open it; 0 counts as 1.
    pub faults: u32,
    /// How long it stays open.
    pub open_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { faults: 5, open_for: Duration::from_secs(30) }
    }
}

/// Whether calls are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All of them.
    Closed,
    /// None.
    Open,
    /// One, to see how it goes.
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
    settings: Settings,
    inner: Mutex<Inner>,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed { faults: u32 },
    Open { until: Instant },
    HalfOpen,
}

struct Inner {
    phase: Phase,
    /// Grows with each change of the state: a verdict on a call of an earlier time does not count.
    epoch: u64,
}

impl Inner {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: Settings) -> Self {
        let inner = Inner { phase: Phase::Closed { faults: 0 }, epoch: 0 };
        Self(Arc::new(Shared { settings, inner: Mutex::new(inner) }))
    }

    /// Lets a call through, or says how long to stay away.
    pub fn admit(&self) -> Result<Permit, Duration> {
        let mut inner = self.inner();
        match inner.phase {
            Phase::Closed { .. } => {}
            Phase::Open { until } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return Err(left);
                }
                inner.enter(Phase::HalfOpen);
            }
            Phase::HalfOpen => return Err(HALF_OPEN_RETRY),
        }
        Ok(Permit { breaker: self.clone(), epoch: inner.epoch, told: false })
    }

    /// Whether calls are let through. An open one whose time is over says open until it is asked.
    pub fn state(&self) -> State {
        match self.inner().phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen => State::HalfOpen,
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
        let Settings { faults: limit, open_for } = self.0.settings;
        match (inner.phase, verdict) {
            (Phase::Closed { .. }, Verdict::Succeeded) => {
                inner.phase = Phase::Closed { faults: 0 };
            }
            (Phase::Closed { faults }, Verdict::Failed) if faults + 1 < limit => {
                inner.phase = Phase::Closed { faults: faults + 1 };
            }
            (Phase::HalfOpen, Verdict::Succeeded) => inner.enter(Phase::Closed { faults: 0 }),
            (Phase::Closed { .. } | Phase::HalfOpen, Verdict::Failed) => {
                inner.enter(Phase::Open { until: Instant::now() + open_for });
            }
            // nothing was learnt: the next call is the one to try
            (Phase::HalfOpen, Verdict::None) => inner.enter(Phase::Open { until: Instant::now() }),
            (Phase::Closed { .. }, Verdict::None) | (Phase::Open { .. }, _) => {}
        }
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
    /// The other side did its work.
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
mod tests {
    use tokio::time::advance;

    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(30);

    fn breaker() -> Breaker {
        Breaker::new(Settings { faults: 3, open_for: OPEN_FOR })
    }

    fn opened() -> Breaker {
        let breaker = breaker();
        for _ in 0..3 {
            breaker.admit().unwrap().failed();
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn only_faults_in_a_row_open_it() {
        let breaker = breaker();
        for _ in 0..5 {
            breaker.admit().unwrap().failed();
            breaker.admit().unwrap().failed();
            breaker.admit().unwrap().succeeded();
        }
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(opened().state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn open_it_turns_away_and_says_for_how_long() {
        let breaker = opened();
        advance(Duration::from_secs(10)).await;
        assert_eq!(breaker.admit().unwrap_err(), Duration::from_secs(20));
        advance(Duration::from_secs(20)).await;
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_it_lets_one_call_through_whose_success_closes_it() {
        let breaker = opened();
        advance(OPEN_FOR).await;
        let probe = breaker.admit().unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(breaker.admit().unwrap_err(), HALF_OPEN_RETRY);
        probe.succeeded();
        assert_eq!(breaker.state(), State::Closed);
        breaker.admit().unwrap().failed();
        assert_eq!(breaker.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_a_fault_opens_it_again_for_the_whole_time() {
        let breaker = opened();
        advance(OPEN_FOR).await;
        breaker.admit().unwrap().failed();
        assert_eq!(breaker.admit().unwrap_err(), OPEN_FOR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_counts_neither_way() {
        let breaker = breaker();
        breaker.admit().unwrap().failed();
        breaker.admit().unwrap().failed();
        drop(breaker.admit().unwrap());
        assert_eq!(breaker.state(), State::Closed);
        let breaker = opened();
        advance(OPEN_FOR).await;
        drop(breaker.admit().unwrap());
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_verdict_does_not_count() {
        let breaker = breaker();
        let (late_good, late_bad) = (breaker.admit().unwrap(), breaker.admit().unwrap());
        for _ in 0..3 {
            breaker.admit().unwrap().failed();
        }
        late_good.succeeded();
        assert_eq!(breaker.state(), State::Open);
        advance(OPEN_FOR).await;
        breaker.admit().unwrap().succeeded();
        late_bad.failed();
        breaker.admit().unwrap().failed();
        breaker.admit().unwrap().failed();
        assert_eq!(breaker.state(), State::Closed);
    }
}
