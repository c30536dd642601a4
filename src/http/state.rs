//! The state that all handlers and middleware share.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{client::Proxies, end_user::EndUsers, metrics::HttpMetrics, probe_cache::ProbeCache};
use crate::{
    auth::Authenticator,
    config::MoralRefusal,
    domain::{ids::Micros, policy::Policy},
    engine::Engines,
    inflight::Inflight,
    lifecycle::{Stop, Tasks},
    limiter::Limiter,
    llm::turn::ClientBlocks,
    rates::Rates,
};

/// Bytes that requests without texts for a model may hold together, in addition to
/// `limits.inflight_bytes`: an operator can stop an engine while steps hold all other memory.
pub const RESERVE_BYTES: usize = 32 * 1024 * 1024;

/// Event streams served at once; further requests are answered with 503.
pub const STREAMS_MAX: usize = 64;

/// Shared by all workers. [`startup::state`](crate::startup::state) builds it.
pub struct AppState {
    /// The engines.
    pub engines: Engines,
    /// Verifies credentials.
    pub auth: Arc<Authenticator>,
    /// Counts requests.
    pub metrics: Arc<HttpMetrics>,
    /// Runs steps that outlive their request.
    pub tasks: Tasks,
    /// The stage of the shutdown.
    pub stop: Stop,
    /// Limits the requests with texts for a model that are served at once.
    pub step_limiter: Limiter,
    /// Limits all other requests served at once, so that administration never waits for a model.
    pub limiter: Limiter,
    /// Limits the memory of all requests with texts for a model together.
    pub inflight: Arc<Inflight>,
    /// Limits the memory of all other requests together.
    pub reserve: Arc<Inflight>,
    /// Limits the rate of requests; `None` disables the limit.
    pub rates: Option<Arc<Rates>>,
    /// The trusted proxies in front of the server.
    pub proxies: Proxies,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// Time limit for receiving a request body.
    pub body_timeout: Duration,
    /// Time after which the head of a streamed response is sent.
    pub stream_headers_after: Duration,
    /// Largest request body in bytes.
    pub body_bytes: usize,
    /// Serves `/docs` and `/openapi.json`.
    pub docs: bool,
    /// The models that requests may name.
    pub models: Models,
    /// The rules for the names of end users.
    pub end_users: EndUsers,
    /// The blocks in the messages of users that clients write.
    pub blocks: ClientBlocks,
    /// The answer to a moral rejection on routes in the dialects of OpenAI and Anthropic.
    pub refusal: MoralRefusal,
    /// The policy of engines that are created without one.
    pub policy: Policy,
    /// Start time of the server.
    pub started: Micros,
    /// Recent results of the health probes.
    pub probes: ProbeCache,
    /// One permit per open event stream.
    pub streams: Arc<Semaphore>,
}

/// The models that requests may name.
#[derive(Clone, Debug)]
pub struct Models {
    /// The configured model.
    pub default: String,
    /// Further models that requests may name.
    pub others: Vec<String>,
}

impl Models {
    /// The configured model, then the others.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let others = self.others.iter().filter(|other| **other != self.default);
        std::iter::once(&self.default).chain(others).map(String::as_str)
    }

    /// True if requests may name this model.
    pub fn contains(&self, model: &str) -> bool {
        let fits = |other: &String| match other.strip_suffix('*') {
            Some(prefix) => model.starts_with(prefix),
            None => other == model,
        };
        self.default == model || self.others.iter().any(fits)
    }
}
