//! `monitoring`: metrics and background probes. Not built yet.

use serde::Deserialize;

use super::error::{Fault, check};

/// Metrics and probes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitoring {
    /// Whether metrics are served.
    pub enabled: bool,
    /// The port they are served on.
    pub metrics_port: u16,
    /// Seconds between probes of the dependencies, 1..=3600.
    pub health_check_interval: u64,
}

impl Monitoring {
    pub(super) fn validate(&self) -> Result<(), Fault> {
        check(self.metrics_port != 0, "monitoring.metrics_port", "between 1 and 65535")?;
        let interval = (1..=3600).contains(&self.health_check_interval);
        check(interval, "monitoring.health_check_interval", "between 1 and 3600")
    }
}
