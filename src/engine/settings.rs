//! The settings of engines and the parts that all engines share.

use std::{sync::Arc, time::Duration};

use super::metrics::Metrics;
use crate::{
    domain::ids::{EngineId, ReplicaId},
    embed::Embedder,
    llm::{ANSWER_BYTES_MAX, Llm},
    store::{Store, keys::ContentKey, writer::Limits},
};

/// Operational settings. They influence no decision that is recorded in a log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The engine of requests that name none.
    pub default: EngineId,
    /// Time from the arrival of a step to the first byte of the model's answer, and between two bytes.
    pub timeout: Duration,
    /// Deadline of a step, from its arrival to the end of the model's answer.
    pub total_timeout: Duration,
    /// Maximum size of an answer, in bytes.
    pub answer_bytes: usize,
    /// Time after the deadline in which the ending of a step must reach the log; then the step is
    /// recorded as abandoned.
    pub grace: Duration,
    /// Limits of the writers.
    pub limits: Limits,
    /// Maximum length of the judged texts of a request in characters. A longer request is refused.
    pub judged_chars: usize,
    /// Bytes that the memories of loaded engines may occupy. Above it, idle engines are unloaded.
    pub memory_budget: usize,
    /// Idle time after which an engine is unloaded.
    pub idle_evict: Duration,
    /// Rate at which the hash chains of all logs are verified in the background; `None` disables it.
    pub audit: Option<Pace>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default: EngineId::default(),
            timeout: Duration::from_secs(30),
            total_timeout: Duration::from_mins(10),
            answer_bytes: ANSWER_BYTES_MAX,
            grace: Duration::from_secs(30),
            limits: Limits::default(),
            judged_chars: 1_000_000,
            memory_budget: 1 << 30,
            idle_evict: Duration::from_mins(15),
            audit: None,
        }
    }
}

/// The rate of the background audit.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Maximum number of events verified per second.
    pub events_per_second: u32,
    /// Minimum time from the start of one round over all logs to the start of the next.
    pub round: Duration,
}

/// The parts that all engines share.
#[derive(Clone)]
pub struct Parts {
    /// The event logs.
    pub store: Store,
    /// This process among those that share the logs.
    pub replica: ReplicaId,
    /// The key that wraps the keys of engines and data subjects.
    pub content_key: Arc<ContentKey>,
    /// The model providers.
    pub llm: Llm,
    /// The embedder.
    pub embedder: Embedder,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
}
