//! The clock that events are recorded by.

use std::time::Instant;

use crate::{domain::ids::Micros, store::Clock};

/// The log's clock.
#[derive(Clone)]
pub enum LogClock {
    /// A clock of this process.
    Own(Clock),
    /// The time of the database's clock, and the moment at which it was received here.
    Database(Micros, Instant),
}

impl LogClock {
    /// The log's time, without a request to the database.
    pub fn now(&self) -> Micros {
        match self {
            Self::Own(clock) => clock(),
            Self::Database(shown, since) => {
                let passed = Micros::try_from(since.elapsed().as_micros()).unwrap_or(Micros::MAX);
                shown.saturating_add(passed)
            }
        }
    }
}
