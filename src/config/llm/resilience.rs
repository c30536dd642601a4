//! Retries, circuit breaker and concurrency limit of the providers.

use std::time::Duration;

use serde::Deserialize;

use crate::config::error::{Fault, check};

/// Retries of failed calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmRetry {
    /// Maximum number of calls for one response, including the first.
    pub attempts: u32,
    base_ms: u64,
    max_ms: u64,
}

/// The circuit breaker of each model of a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmBreaker {
    /// Consecutive failures that open the breaker; 0 disables it.
    pub failures: u32,
    open_seconds: u64,
    /// Concurrent calls that a half-open breaker admits.
    pub probes: u32,
}

/// The concurrency limit of each provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmBulkhead {
    /// Maximum number of concurrent calls.
    pub concurrency: usize,
    /// Maximum number of queued calls.
    pub queue: usize,
}

impl LlmRetry {
    /// Maximum delay before the second call.
    pub const fn base(&self) -> Duration {
        Duration::from_millis(self.base_ms)
    }

    /// Maximum delay before any call.
    pub const fn max(&self) -> Duration {
        Duration::from_millis(self.max_ms)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        check((1..=10).contains(&self.attempts), "llm.retry.attempts", "between 1 and 10")?;
        check(self.base_ms <= 60_000, "llm.retry.base_ms", "between 0 and 60000")?;
        let max = (self.base_ms..=600_000).contains(&self.max_ms);
        check(max, "llm.retry.max_ms", "between llm.retry.base_ms and 600000")
    }
}

impl LlmBreaker {
    /// Time for which the breaker stays open.
    pub const fn open(&self) -> Duration {
        Duration::from_secs(self.open_seconds)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        check(self.failures <= 10_000, "llm.breaker.failures", "between 0 and 10000")?;
        let open = (1..=3600).contains(&self.open_seconds);
        check(open, "llm.breaker.open_seconds", "between 1 and 3600")?;
        check((1..=100).contains(&self.probes), "llm.breaker.probes", "between 1 and 100")
    }
}

impl LlmBulkhead {
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let concurrency = (1..=100_000).contains(&self.concurrency);
        check(concurrency, "llm.bulkhead.concurrency", "between 1 and 100000")?;
        check(self.queue <= 100_000, "llm.bulkhead.queue", "between 0 and 100000")
    }
}
