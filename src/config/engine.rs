//! `engine`: the default engine, engines in memory, and abandoned steps.

use std::time::Duration;

use serde::Deserialize;

use super::error::{Fault, check};
use crate::domain::ids::EngineId;

/// The default engine, and engines in memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    default: EngineId,
    abandon_grace_seconds: u64,
    memory_budget_mb: u64,
    idle_evict_seconds: u64,
}

impl Engine {
    /// The engine of requests that name none. The server creates it if it is missing.
    pub const fn default_id(&self) -> &EngineId {
        &self.default
    }

    /// Time after the deadline at which a step without an outcome is closed as abandoned.
    pub const fn abandon_grace(&self) -> Duration {
        Duration::from_secs(self.abandon_grace_seconds)
    }

    /// Memory limit of all loaded engines in bytes.
    pub const fn memory_budget_bytes(&self) -> u64 {
        self.memory_budget_mb * 1024 * 1024
    }

    /// Time after which an unused engine is unloaded.
    pub const fn idle_evict(&self) -> Duration {
        Duration::from_secs(self.idle_evict_seconds)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let grace = (1..=3600).contains(&self.abandon_grace_seconds);
        check(grace, "engine.abandon_grace_seconds", "between 1 and 3600")?;
        let budget = (16..=1_048_576).contains(&self.memory_budget_mb);
        check(budget, "engine.memory_budget_mb", "between 16 and 1048576")?;
        let idle = (10..=31_536_000).contains(&self.idle_evict_seconds);
        check(idle, "engine.idle_evict_seconds", "between 10 and 31536000")
    }
}
