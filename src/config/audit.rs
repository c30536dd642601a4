//! `audit`: verifying the log while it is served.

use std::time::Duration;

use serde::Deserialize;

use super::error::{Fault, check};
use crate::engine::Pace;

/// The background audit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    events_per_second: u32,
    round_seconds: u64,
}

impl Audit {
    /// How fast logs are verified; none: not at all.
    pub fn pace(&self) -> Option<Pace> {
        (self.events_per_second > 0).then_some(Pace {
            events_per_second: self.events_per_second,
            round: Duration::from_secs(self.round_seconds),
        })
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let events = self.events_per_second <= 1_000_000;
        check(events, "audit.events_per_second", "between 0 and 1000000")?;
        let round = (1..=31_536_000).contains(&self.round_seconds);
        check(round, "audit.round_seconds", "between 1 and 31536000")
    }
}
