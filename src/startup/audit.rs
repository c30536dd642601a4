//! The pace of the background audit of a configuration.

use crate::{config, engine::Pace};

/// The pace, or none if the audit is off.
pub(super) fn pace(config: &config::Audit) -> Option<Pace> {
    (config.events_per_second > 0)
        .then(|| Pace { events_per_second: config.events_per_second, round: config.round() })
}
