//! What became of spans, counted for the whole process.

use std::sync::{
    LazyLock,
    atomic::{AtomicBool, Ordering},
};

use prometheus_client::metrics::counter::Counter;

use crate::{clock, metrics::FloatGauge};

/// Why a span is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Too many wait already.
    QueueFull,
    /// Nobody answers at the collector's address.
    Unreachable,
    /// The collector took too long.
    Timeout,
    /// It has too much to do (429, 503).
    Overloaded,
    /// It fails (other 5xx).
    Upstream,
    /// It does not take what it is sent (other statuses), or not all of it.
    Refused,
    /// The process ended before the span could be sent.
    Shutdown,
}

/// The reasons, as the label `reason`; in the order of the reasons themselves.
pub const REASONS: [&str; 7] =
    ["queue_full", "unreachable", "timeout", "overloaded", "upstream", "refused", "shutdown"];

/// Spans by what became of them. Each counts as emitted, and later as one of the others.
#[derive(Debug)]
pub struct Counts {
    /// Spans that ended.
    pub emitted: Counter,
    /// Spans that the collector has taken.
    pub delivered: Counter,
    /// Spans that were lost, by the places of [`REASONS`].
    pub dropped: [Counter; REASONS.len()],
    /// Whether there is a collector.
    wanted: AtomicBool,
    last_success: FloatGauge,
}

static COUNTS: LazyLock<Counts> = LazyLock::new(|| Counts {
    emitted: Counter::default(),
    delivered: Counter::default(),
    dropped: Default::default(),
    wanted: AtomicBool::new(false),
    last_success: FloatGauge::default(),
});

/// What became of the spans so far.
pub fn counts() -> &'static Counts {
    &COUNTS
}

impl Counts {
    /// Says that there is a collector: from then on its last success is shown.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// When a batch was delivered last, in seconds since 1970, 0 before the first; none without a
    /// collector.
    pub fn last_success(&self) -> Option<FloatGauge> {
        self.wanted.load(Ordering::Relaxed).then(|| self.last_success.clone())
    }

    pub(super) fn delivered(&self, spans: u64) {
        self.delivered.inc_by(spans);
        self.last_success.set(clock::now_micros() as f64 / 1e6);
    }

    pub(super) fn lost(&self, reason: Reason, spans: u64) {
        if let Some(counter) = self.dropped.get(reason as usize) {
            counter.inc_by(spans);
        }
    }

    /// All that were lost.
    pub fn lost_total(&self) -> u64 {
        self.dropped.iter().map(Counter::get).sum()
    }
}
