//! `monitoring`: metrics, and background probes, which are not built yet.

use serde::Deserialize;

use super::error::{Fault, check};
use crate::domain::ids::EngineId;

/// Most engines that are told apart: each has its own series.
const ENGINES_MAX: usize = 20;

/// Longest name of a track, or of where the process runs.
const NAME_MAX: usize = 32;

/// Metrics and probes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitoring {
    /// Whether metrics are served.
    pub enabled: bool,
    /// The port they are served on, at `api.host`; 0 for any that is free.
    pub metrics_port: u16,
    /// Engines that are told apart beside the default one.
    pub engines: Vec<EngineId>,
    /// Which track of a release this process belongs to.
    pub track: String,
    /// Where this process runs: `production`, `staging`.
    pub env: String,
    /// Seconds between probes of the dependencies, 1..=3600.
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
