//! The composition root: builds the parts of a server from a configuration.
//!
//! The conversions from [`Config`] to the settings of engine, store, llm, embed and auth belong here, so
//! that these modules need not know the configuration file. `http::server`, `tls` and `telemetry` read
//! their section directly. Deliberately not here: listening and serving
//! ([`http::server`](crate::http::server)).

mod audit;
mod auth;
mod embedder;
mod error;
mod metrics;
mod models;
mod providers;
mod rates;
mod started;
mod store;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use self::{
    auth::authenticator,
    embedder::embedder,
    error::StartError,
    models::llm,
    providers::providers,
    started::record_start,
    store::{content_key, key_file, open_log, refuse_missing_log, store_options},
};
use crate::{
    auth::Authenticator,
    config::Config,
    engine::{Engines, Parts, Settings},
    http::{
        AppState,
        client::Proxies,
        end_user::EndUsers,
        probe_cache::ProbeCache,
        state::{Models, RESERVE_BYTES, STREAMS_MAX},
    },
    inflight::Inflight,
    lifecycle::Tasks,
    limiter::Limiter,
    llm::{Llm, turn::ClientBlocks},
    store::writer::Limits,
};

/// Opens the event log for writing, creates the default engine if it is missing, and starts the
/// background tasks of the engines.
pub async fn start_engines(
    config: &Config,
    llm: Llm,
    tasks: &Tasks,
) -> Result<Engines, StartError> {
    let engines = engine_registry(config, llm, tasks).await?;
    embedder::check(&engines.parts().embedder).await?;
    if engines.ensure_default(&config.mlsdm.policy).await? {
        tracing::warn!(
            event_type = "policy.drift",
            "the configured policy differs from the policy of the default engine; run \
             `mlsdm policy apply` to apply it"
        );
    }
    engines.start_background();
    Ok(engines)
}

/// Opens the event log for writing. Does not create or load an engine and starts no background task.
pub async fn engine_registry(
    config: &Config,
    llm: Llm,
    tasks: &Tasks,
) -> Result<Engines, StartError> {
    let store = open_log(&config.database).await?;
    let content_key = Arc::new(content_key(&config.database, store.path(), true)?);
    let embedder = embedder(config)?;
    let metrics = Arc::new(metrics::engines(config, &llm));
    let replica = store.replica();
    let parts = Parts { store, replica, content_key, llm, embedder, metrics };
    Ok(Engines::new(parts, engine_settings(config), tasks.clone()))
}

fn engine_settings(config: &Config) -> Settings {
    Settings {
        default: config.engine.default_id().clone(),
        timeout: config.api.timeout(),
        total_timeout: config.llm.total_timeout(),
        answer_bytes: config.limits.answer_bytes,
        grace: config.engine.abandon_grace(),
        limits: Limits {
            queue: config.limits.writer_queue,
            batch_events: config.limits.batch_events,
            batch_bytes: config.limits.batch_bytes,
        },
        judged_chars: config.limits.judged_chars,
        memory_budget: config.engine.memory_budget_bytes() as usize,
        idle_evict: config.engine.idle_evict(),
        audit: audit::pace(&config.audit),
    }
}

/// The state that all HTTP handlers share. Build it once, outside the app factory, which runs once
/// per worker.
pub fn state(
    config: &Config,
    auth: Arc<Authenticator>,
    engines: Engines,
    tasks: Tasks,
) -> AppState {
    let limits = &config.limits;
    let stop = tasks.stop().clone();
    let wait = config.api.timeout();
    AppState {
        engines,
        auth,
        metrics: Arc::new(metrics::requests(config)),
        tasks,
        stop,
        step_limiter: Limiter::new(limits.step_concurrency(), limits.step_queue(), wait),
        limiter: Limiter::new(limits.concurrency, limits.queue, wait),
        inflight: Inflight::new(limits.inflight_bytes),
        reserve: Inflight::new(RESERVE_BYTES.max(4 * config.limits.body_bytes)),
        rates: rates::rates(&limits.rate).map(Arc::new),
        proxies: Proxies {
            trusted: config.api.trusted_proxies.clone(),
            header: config.api.forwarded_header,
        },
        cors_origins: config.api.cors_origins.clone(),
        body_timeout: limits.body_timeout(),
        stream_headers_after: config.api.stream_headers_after(),
        body_bytes: limits.body_bytes,
        docs: config.api.docs,
        models: Models {
            default: config.llm.model.clone(),
            others: config.llm.models().into_iter().map(|model| model.name).collect(),
        },
        end_users: EndUsers::new(config.api.end_user, config.auth.require_end_user),
        blocks: ClientBlocks::new(config.api.client_blocks.iter().map(String::as_str)),
        refusal: config.api.refusal,
        policy: config.mlsdm.policy.clone(),
        started: crate::clock::now_micros(),
        probes: ProbeCache::default(),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
    }
}
