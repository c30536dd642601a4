//! Logs and traces of the process, and the alerting rules and dashboards for its metrics.
//!
//! Telemetry never blocks or fails a request; whatever it drops is counted ([`delivery`]).
//! Deliberately not here: metrics, which their modules own (see [`metrics`](crate::metrics)).
//! Deliberately impossible: logging the text of a prompt or an answer (see [`Redacted`]).

#[cfg(feature = "tools")]
pub mod dashboards;
pub mod delivery;
pub mod logs;
mod loki;
pub mod metrics;
mod names;
pub mod rules;
pub mod traces;

use std::fmt;

/// A text that must not appear in logs: it is formatted as its length in characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted<T>(T);

impl<T: AsRef<str>> Redacted<T> {
    /// Wraps a text.
    pub const fn new(text: T) -> Self {
        Self(text)
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        self.0.as_ref()
    }
}

impl<T: AsRef<str>> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} characters]", self.0.as_ref().chars().count())
    }
}

impl<T: AsRef<str>> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
