//! What the process says about itself: logs, metrics and traces; the rules and dashboards by which it is watched.
//!
//! Telemetry may never block or fail a request, and what it loses is counted.
//!
//! Deliberately impossible: logging the text of a prompt or an answer; see [`Redacted`].

pub mod dashboards;
pub mod logs;
mod loki;
pub mod loss;
pub mod metrics;
pub mod rules;
pub mod traces;

use std::fmt;

/// A text that must not be read in logs: shows as its length in characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted<T>(T);

impl<T: AsRef<str>> Redacted<T> {
    /// Wraps a text.
    pub const fn new(text: T) -> Self {
        Self(text)
    }

    /// The text, for those who may read it.
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
