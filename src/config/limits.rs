//! `limits`: bounds of bodies, queues and batches.

use std::time::Duration;

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
    header_timeout_ms: u64,
    body_timeout_ms: u64,
    write_timeout_ms: u64,
    keep_alive_ms: u64,
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
    /// How long the head of a request may take to come, or a handshake.
    pub const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// How long the body of a request may take to come.
    pub const fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    /// How long a client may leave what it is sent.
    pub const fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    /// How long a connection may be idle.
    pub const fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms)
    }

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
        for (time, key) in [
            (self.header_timeout_ms, "limits.header_timeout_ms"),
            (self.body_timeout_ms, "limits.body_timeout_ms"),
            (self.write_timeout_ms, "limits.write_timeout_ms"),
            (self.keep_alive_ms, "limits.keep_alive_ms"),
        ] {
            check((1_000..=600_000).contains(&time), key, "between 1000 and 600000")?;
        }
        self.rate.validate()
    }
}
