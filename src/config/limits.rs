//! `limits`: bounds of bodies, queues and batches.

use serde::Deserialize;

use super::{
    RateLimits,
    error::{Fault, check},
};

/// Limits; what happens beyond each is said in `default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Largest request body in bytes.
    pub body_bytes: usize,
    /// Requests served at once.
    pub concurrency: usize,
    /// Requests that may wait to be served.
    pub queue: usize,
    /// Commands waiting for one engine's writer.
    pub writer_queue: usize,
    /// Most events of one transaction of a writer.
    pub batch_events: usize,
    /// Most bytes of one transaction of a writer.
    pub batch_bytes: usize,
    /// How often one holder may ask.
    pub rate: RateLimits,
}

const MIB: usize = 1024 * 1024;

impl Limits {
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let body = (1024..=64 * MIB).contains(&self.body_bytes);
        check(body, "limits.body_bytes", "between 1024 and 67108864")?;
        let concurrency = (1..=100_000).contains(&self.concurrency);
        check(concurrency, "limits.concurrency", "between 1 and 100000")?;
        check(self.queue <= 100_000, "limits.queue", "between 0 and 100000")?;
        let writer = (1..=100_000).contains(&self.writer_queue);
        check(writer, "limits.writer_queue", "between 1 and 100000")?;
        let events = (1..=10_000).contains(&self.batch_events);
        check(events, "limits.batch_events", "between 1 and 10000")?;
        let bytes = (4096..=64 * MIB).contains(&self.batch_bytes);
        check(bytes, "limits.batch_bytes", "between 4096 and 67108864")?;
        self.rate.validate()
    }
}
