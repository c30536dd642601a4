//! Delivery to the sinks of telemetry: what was emitted, delivered and dropped, and the last
//! success.
//!
//! Counted for the whole process, because log lines may be emitted before anything else exists.

use std::sync::{
    LazyLock,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    clock,
    metrics::{Counter, Family, FloatGauge},
};

/// Counts of one sink, whose reasons to drop something are `R`. At any time
/// emitted = delivered + dropped + waiting.
#[derive(Debug)]
pub struct Delivery<R> {
    /// Items emitted for the sink.
    pub emitted: Counter,
    /// Items that the sink accepted.
    pub delivered: Counter,
    /// Items that did not reach the sink, by reason.
    pub dropped: Family<R, Counter>,
    is_configured: AtomicBool,
    last_success: FloatGauge,
}

impl<R: PartialEq> Delivery<R> {
    /// Counts of a sink that may drop items for these reasons.
    pub(super) fn new(reasons: impl IntoIterator<Item = R>) -> Self {
        Self {
            emitted: Counter::default(),
            delivered: Counter::default(),
            dropped: Family::new(reasons),
            is_configured: AtomicBool::new(false),
            last_success: FloatGauge::default(),
        }
    }

    /// Shows the sink's last success from now on.
    pub(super) fn set_configured(&self) {
        self.is_configured.store(true, Ordering::Relaxed);
    }

    /// Counts an item emitted for the sink.
    pub(super) fn count_emitted(&self) {
        self.emitted.inc();
    }

    /// Counts items that the sink has just accepted.
    pub(super) fn count_delivered(&self, items: u64) {
        self.delivered.inc_by(items);
        self.last_success.set(clock::now_micros() as f64 / 1e6);
    }

    /// Counts items that did not reach the sink.
    pub(super) fn count_dropped(&self, reason: &R, items: u64) {
        self.dropped.inc_by(reason, items);
    }

    /// Items dropped so far, for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.total()
    }

    /// The time of the last delivery in seconds since the Unix epoch, 0 before the first; `None` if
    /// the sink is not configured.
    pub fn last_success(&self) -> Option<&FloatGauge> {
        self.is_configured.load(Ordering::Relaxed).then_some(&self.last_success)
    }
}

/// A sink of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// The configured log file.
    File,
    /// The configured Loki.
    Loki,
}

/// Why a log line did not reach a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full: the sink is slower than the log.
    QueueFull,
    /// The sink failed: a closed pipe, a full disk, an error response.
    Refused,
    /// The sink did not respond in time; it may have received the line.
    Timeout,
    /// The process ended first.
    Shutdown,
}

static STDOUT: LazyLock<Delivery<Reason>> = LazyLock::new(|| {
    let stdout = Delivery::new(Reason::OF_WRITER);
    // every process has a standard output
    stdout.set_configured();
    stdout
});
static FILE: LazyLock<Delivery<Reason>> = LazyLock::new(|| Delivery::new(Reason::OF_WRITER));
static LOKI: LazyLock<Delivery<Reason>> = LazyLock::new(|| Delivery::new(Reason::ALL));

impl Sink {
    /// All sinks of log lines.
    pub const ALL: [Self; 3] = [Self::Stdout, Self::File, Self::Loki];

    /// The value of the label `sink`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File => "file",
            Self::Loki => "loki",
        }
    }

    /// The counts of this sink.
    pub fn delivery(self) -> &'static Delivery<Reason> {
        match self {
            Self::Stdout => &STDOUT,
            Self::File => &FILE,
            Self::Loki => &LOKI,
        }
    }
}

impl Reason {
    const ALL: [Self; 4] = [Self::QueueFull, Self::Refused, Self::Timeout, Self::Shutdown];

    /// The reasons of a sink that is written to without a time limit.
    const OF_WRITER: [Self; 3] = [Self::QueueFull, Self::Refused, Self::Shutdown];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Timeout => "unanswered",
            Self::Shutdown => "shutdown",
        }
    }
}
