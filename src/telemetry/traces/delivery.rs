//! Delivery of spans to the collector, counted for the whole process.

use std::sync::LazyLock;

use crate::telemetry::delivery::Delivery;

/// Why a span was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full.
    QueueFull,
    /// No connection to the collector's address.
    Unreachable,
    /// The collector did not respond in time.
    Timeout,
    /// The collector is overloaded (429, 503).
    Overloaded,
    /// The collector failed (other 5xx).
    Upstream,
    /// The collector rejected the span (other statuses, or a partial success).
    Refused,
    /// The process ended before the span was sent.
    Shutdown,
}

impl Reason {
    const ALL: [Self; 7] = [
        Self::QueueFull,
        Self::Unreachable,
        Self::Timeout,
        Self::Overloaded,
        Self::Upstream,
        Self::Refused,
        Self::Shutdown,
    ];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Upstream => "upstream",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
        }
    }
}

static DELIVERY: LazyLock<Delivery<Reason>> = LazyLock::new(|| Delivery::new(Reason::ALL));

/// The counts of spans of this process.
pub fn delivery() -> &'static Delivery<Reason> {
    &DELIVERY
}
