//! `monitoring`: metrics, and background probes (not implemented yet).

use serde::Deserialize;

use super::error::{Fault, check};
use crate::domain::ids::EngineId;

/// Maximum number of engines with their own metric series.
const ENGINES_MAX: usize = 20;

/// Maximum length of the names of track and environment.
const NAME_MAX: usize = 32;

/// Metrics and probes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitoring {
    /// Serves metrics.
    pub enabled: bool,
    /// The port of the metrics listener, at `api.host`; 0 picks a free port.
    pub metrics_port: u16,
    /// Engines with their own metric series, in addition to the default engine.
    pub engines: Vec<EngineId>,
    /// The release track of this process.
    pub track: String,
    /// The environment of this process: `production`, `staging`.
    pub env: String,
    /// Seconds between probes of the dependencies, 1..=3600. Not implemented yet.
    pub health_check_interval: u64,
}

impl Monitoring {
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let engines = self.engines.len() <= ENGINES_MAX;
        check(engines, "monitoring.engines", "a list of at most 20 engines")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_name = |name: &str| (1..=NAME_MAX).contains(&name.len()) && name.chars().all(plain);
        check(is_name(&self.track), "monitoring.track", "1 to 32 letters, digits, - and _")?;
        check(is_name(&self.env), "monitoring.env", "1 to 32 letters, digits, - and _")?;
        let interval = (1..=3600).contains(&self.health_check_interval);
        check(interval, "monitoring.health_check_interval", "between 1 and 3600")
    }
}
