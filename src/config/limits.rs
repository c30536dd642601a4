//! `limits`: limits of request bodies, queues, batches and rates.

use std::time::Duration;

use serde::Deserialize;

use super::{
    RateLimits,
    error::{Fault, check},
    optional::optional,
};

/// Limits. `default.toml` documents the behaviour at each of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Maximum size of a request body in bytes.
    pub body_bytes: usize,
    /// Maximum memory of the bodies of all requests, their answers and the copies of both, in bytes.
    pub inflight_bytes: usize,
    /// Maximum size of an answer in bytes.
    pub answer_bytes: usize,
    /// Maximum length of the judged texts of a request in characters.
    pub judged_chars: usize,
    #[serde(deserialize_with = "optional")]
    step_concurrency: Option<usize>,
    #[serde(deserialize_with = "optional")]
    step_queue: Option<usize>,
    /// Maximum number of concurrent requests that call no model.
    pub concurrency: usize,
    /// Maximum number of queued requests that call no model.
    pub queue: usize,
    header_timeout_ms: u64,
    body_timeout_ms: u64,
    write_timeout_ms: u64,
    keep_alive_ms: u64,
    /// Maximum number of commands queued for the writer of an engine.
    pub writer_queue: usize,
    /// Maximum number of events in a transaction of a writer.
    pub batch_events: usize,
    /// Maximum size of a transaction of a writer in bytes.
    pub batch_bytes: usize,
    /// Rate limits.
    pub rate: RateLimits,
}

const MIB: usize = 1024 * 1024;

/// The memory that the body of a request takes while it runs, in multiples of its size: the body, the
/// fields parsed from it, and the content that is sealed and the request that a provider gets.
pub const BODY_COPIES: usize = 3;

impl Limits {
    /// Maximum number of concurrent requests that call a model.
    pub fn step_concurrency(&self) -> usize {
        self.step_concurrency.unwrap_or(self.concurrency)
    }

    /// Maximum number of queued requests that call a model.
    pub fn step_queue(&self) -> usize {
        self.step_queue.unwrap_or(self.queue)
    }

    /// Timeout for receiving the head of a request, and for a TLS handshake.
    pub const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// Timeout for receiving the body of a request.
    pub const fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    /// Timeout for a client to accept sent data.
    pub const fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    /// Maximum idle time of a connection.
    pub const fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let body = (1024..=64 * MIB).contains(&self.body_bytes);
        check(body, "limits.body_bytes", "between 1024 and 67108864")?;
        let answer = (1024..=64 * MIB).contains(&self.answer_bytes);
        check(answer, "limits.answer_bytes", "between 1024 and 67108864")?;
        let judged = (1_000..=64 * MIB).contains(&self.judged_chars);
        check(judged, "limits.judged_chars", "between 1000 and 67108864")?;
        // bodies may take three quarters of it, and each is counted three times
        let fits = self.body_bytes <= self.inflight_bytes / 4;
        check(fits, "limits.inflight_bytes", "at least four times limits.body_bytes")?;
        for (concurrency, key) in [
            (self.concurrency, "limits.concurrency"),
            (self.step_concurrency(), "limits.step_concurrency"),
        ] {
            check((1..=100_000).contains(&concurrency), key, "between 1 and 100000")?;
        }
        for (queue, key) in [(self.queue, "limits.queue"), (self.step_queue(), "limits.step_queue")]
        {
            check(queue <= 100_000, key, "between 0 and 100000")?;
        }
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
