//! A circuit breaker: a provider that keeps failing is left alone for a while.
//!
//! *Closed*, it lets every call through and counts faults in a row; at the threshold it *opens* and
//! lets none through; after the open time it is *half open* and lets a few probes through, of which
//! the first to succeed closes it and the first to fail opens it again. Only what speaks against
//! the provider counts ([`LlmError::is_fault`]). Deliberately not here: waiting, and trying again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::LlmError;

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug)]
pub struct BreakerSettings {
    /// Faults in a row that open it; with 0 it never opens.
    pub failures: u32,
    /// How long it stays open.
    pub open: Duration,
    /// Calls let through at once while it is half open.
    pub probes: u32,
}

/// The breaker of one provider.
#[derive(Debug)]
pub(super) struct Breaker {
    provider: &'static str,
    settings: BreakerSettings,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Counts changes of state: a call of an earlier one tells nothing about the present.
    era: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { faults: u32 },
    Open { until: Instant },
    HalfOpen { running: u32 },
}

/// A call let through. Dropped without a [`Pass::done`] (the caller went away), it counts for nothing.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    era: u64,
}

impl Breaker {
    pub(super) fn new(provider: &'static str, settings: BreakerSettings) -> Self {
        let inner = Inner { state: State::Closed { faults: 0 }, era: 0 };
        Self { provider, settings, inner: Mutex::new(inner) }
    }

    /// Lets a call through, or says when to come again.
    pub(super) fn enter(&self) -> Result<Pass<'_>, LlmError> {
        let mut inner = self.lock();
        let now = Instant::now();
        match inner.state {
            State::Closed { .. } => {}
            State::Open { until } if now < until => {
                return Err(LlmError::BreakerOpen { retry_after: until - now });
            }
            State::Open { .. } => inner.become_state(State::HalfOpen { running: 1 }),
            State::HalfOpen { running } if running < self.settings.probes => {
                inner.state = State::HalfOpen { running: running + 1 };
            }
            // a probe tells soon
            State::HalfOpen { .. } => {
                return Err(LlmError::BreakerOpen { retry_after: PROBE_WAIT });
            }
        }
        Ok(Pass { breaker: self, era: inner.era })
    }

    /// `closed`, `open` or `half_open`, as the next call would find it.
    pub(super) fn state(&self) -> &'static str {
        match self.lock().state {
            State::Closed { .. } => "closed",
            State::Open { until } if Instant::now() < until => "open",
            State::Open { .. } | State::HalfOpen { .. } => "half_open",
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, era: u64, seen: Seen) {
        let mut inner = self.lock();
        if inner.era != era {
            return;
        }
        let open = State::Open { until: Instant::now() + self.settings.open };
        match (seen, inner.state) {
            (Seen::Fault, State::Closed { faults }) => {
                let faults = faults.saturating_add(1);
                inner.state = State::Closed { faults };
                if self.settings.failures > 0 && faults >= self.settings.failures {
                    inner.become_state(open);
                    drop(inner);
                    self.say_open(faults);
                }
            }
            (Seen::Fault, State::HalfOpen { .. }) => {
                inner.become_state(open);
                drop(inner);
                self.say_open(1);
            }
            (Seen::Life, State::Closed { .. }) => inner.state = State::Closed { faults: 0 },
            (Seen::Life, State::HalfOpen { .. }) => {
                inner.become_state(State::Closed { faults: 0 });
                drop(inner);
                info!(
                    event_type = "llm.breaker_closed",
                    provider = self.provider,
                    "the provider answers again; its circuit breaker is closed"
                );
            }
            (Seen::Nothing, State::HalfOpen { running }) => {
                inner.state = State::HalfOpen { running: running.saturating_sub(1) };
            }
            (Seen::Nothing, State::Closed { .. }) | (_, State::Open { .. }) => {}
        }
    }

    fn say_open(&self, faults: u32) {
        warn!(
            event_type = "llm.breaker_opened",
            provider = self.provider,
            faults,
            open_seconds = self.settings.open.as_secs(),
            "the provider fails; its circuit breaker is open"
        );
    }
}

/// When to come again while probes run.
const PROBE_WAIT: Duration = Duration::from_secs(1);

impl Inner {
    const fn become_state(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

/// What a call tells about the provider.
#[derive(Clone, Copy)]
enum Seen {
    Fault,
    Life,
    Nothing,
}

impl Pass<'_> {
    /// The call ended.
    pub(super) fn done<T>(mut self, result: &Result<T, LlmError>) {
        let seen = match result {
            Err(error) if error.is_fault() => Seen::Fault,
            // refused, but by somebody who is there
            Ok(_) | Err(LlmError::Refused { .. } | LlmError::TooLong) => Seen::Life,
            Err(_) => Seen::Nothing,
        };
        self.record(seen);
    }

    fn record(&mut self, seen: Seen) {
        self.breaker.record(self.era, seen);
        // nothing more counts, the drop neither
        self.era = u64::MAX;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.record(Seen::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Format, Level, Logging},
        telemetry::logs::{buffer::Buffer, subscriber},
    };

    const FAULT: Result<(), LlmError> = Err(LlmError::Unreachable);
    const OPEN: Duration = Duration::from_secs(30);

    fn breaker(probes: u32) -> Breaker {
        Breaker::new("test", BreakerSettings { failures: 3, open: OPEN, probes })
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.enter().unwrap_or_else(|e| panic!("{e}")).done(&FAULT);
        }
    }

    fn is_shut(breaker: &Breaker) -> bool {
        matches!(breaker.enter(), Err(LlmError::BreakerOpen { .. }))
    }

    #[tokio::test(start_paused = true)]
    async fn faults_in_a_row_open_it_and_a_probe_closes_it() {
        let breaker = breaker(1);
        fail(&breaker, 2);
        breaker.enter().unwrap_or_else(|e| panic!("{e}")).done(&Ok(()));
        fail(&breaker, 2);
        assert_eq!(breaker.state(), "closed", "a success between them");
        fail(&breaker, 1);
        assert_eq!(breaker.state(), "open");
        assert_eq!(breaker.enter().err(), Some(LlmError::BreakerOpen { retry_after: OPEN }));

        tokio::time::advance(OPEN).await;
        assert_eq!(breaker.state(), "half_open");
        let probe = breaker.enter().unwrap_or_else(|e| panic!("{e}"));
        assert!(is_shut(&breaker), "one probe at a time");
        probe.done(&Ok(()));
        assert_eq!(breaker.state(), "closed");
        fail(&breaker, 2);
        assert_eq!(breaker.state(), "closed", "counts from 0 again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_for_as_long_again() {
        let breaker = breaker(2);
        fail(&breaker, 3);
        tokio::time::advance(OPEN).await;
        let (first, second) = (breaker.enter().ok().unwrap(), breaker.enter().ok().unwrap());
        assert!(is_shut(&breaker), "two probes at a time");
        first.done(&FAULT);
        assert_eq!(breaker.state(), "open");
        second.done(&Ok(()));
        assert_eq!(breaker.state(), "open", "what began before tells nothing");
        tokio::time::advance(OPEN / 2).await;
        assert!(is_shut(&breaker));
        tokio::time::advance(OPEN / 2).await;
        assert!(!is_shut(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn only_faults_count_and_a_cancelled_probe_makes_room() {
        let breaker = breaker(1);
        for _ in 0..10 {
            let refused: Result<(), _> = Err(LlmError::Refused { status: 400 });
            breaker.enter().unwrap_or_else(|e| panic!("{e}")).done(&refused);
            drop(breaker.enter());
        }
        assert_eq!(breaker.state(), "closed");
        fail(&breaker, 3);
        tokio::time::advance(OPEN).await;
        drop(breaker.enter().ok().unwrap());
        assert!(!is_shut(&breaker), "its place is free");
    }

    #[tokio::test(start_paused = true)]
    async fn each_change_is_one_line() {
        let (level, file) = (Level::Info, std::path::PathBuf::new());
        let buffer = Buffer::default();
        let logging = Logging { level, format: Format::Json, file };
        let guard = tracing::subscriber::set_default(subscriber(&logging, buffer.clone()));
        let breaker = breaker(1);
        fail(&breaker, 3);
        assert!(is_shut(&breaker));
        tokio::time::advance(OPEN).await;
        fail(&breaker, 1);
        tokio::time::advance(OPEN).await;
        breaker.enter().unwrap_or_else(|e| panic!("{e}")).done(&Ok(()));
        drop(guard);
        let line = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["provider"], "test");
            format!("{} {}", line["level"].as_str().unwrap(), line["event_type"].as_str().unwrap())
        };
        let lines: Vec<String> = buffer.lines().iter().map(line).collect();
        let opened = "WARNING llm.breaker_opened";
        assert_eq!(lines, [opened, opened, "INFO llm.breaker_closed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_threshold_it_never_opens() {
        let settings = BreakerSettings { failures: 0, open: OPEN, probes: 1 };
        let breaker = Breaker::new("test", settings);
        fail(&breaker, 100);
        assert_eq!(breaker.state(), "closed");
    }
}
