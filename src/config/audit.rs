//! `audit`: verification of the event logs while the server runs.

use std::time::Duration;

use serde::Deserialize;

use super::error::{Fault, check};

/// The background audit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Events verified per second; 0 disables the audit.
    pub events_per_second: u32,
    round_seconds: u64,
}

impl Audit {
    /// Minimum time from the start of one round over all logs to the start of the next.
    pub const fn round(&self) -> Duration {
        Duration::from_secs(self.round_seconds)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let events = self.events_per_second <= 1_000_000;
        check(events, "audit.events_per_second", "between 0 and 1000000")?;
        let round = (1..=31_536_000).contains(&self.round_seconds);
        check(round, "audit.round_seconds", "between 1 and 31536000")
    }
}
