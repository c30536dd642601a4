//! How long the database takes, as whoever asks it sees it.

use crate::telemetry::metrics::Histogram;

/// Times of a store's connections; a clone counts in the same ones.
#[derive(Clone, Debug)]
pub struct Timings {
    /// Waiting for a connection to read with, in vain or not.
    pub wait: Histogram,
    /// One read outside of any append that was answered.
    pub read: Histogram,
    /// The commit of an append: on most disks, writing it for good.
    pub commit: Histogram,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            wait: Histogram::seconds(),
            read: Histogram::seconds(),
            commit: Histogram::seconds(),
        }
    }
}
