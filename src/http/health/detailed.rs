//! `GET /health/detailed` and `/status`: components, circuit breakers and lag.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    summary::policy_drift,
    trust::{Trust, trust},
};
use crate::{
    auth::Authenticator,
    embed::Embedder,
    http::{AppState, access::Public},
    llm::Llm,
    store::Store,
};

/// A report on the server and its components.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detailed {
    /// `healthy`, `degraded` (the event log does not accept writes, the default engine is not loaded, or
    /// the log of the default engine or of the server cannot be trusted), or `leaving` (the server is about
    /// to stop).
    pub status: &'static str,
    /// Version of the server.
    pub version: &'static str,
    /// Start time, RFC 3339.
    pub started_at: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Components that steps depend on.
    pub backends: Backends,
    /// Circuit breakers of this replica: `closed`, `open` or `half_open`. The name is `embedder`,
    /// `provider:model`, or the provider if it has only one model; `provider:other` is shared by all
    /// models that the configuration does not name.
    pub breakers: BTreeMap<String, String>,
    /// Authentication.
    pub auth: AuthStatus,
    /// Loaded engines.
    pub engines: EnginesInMemory,
    /// Logs that cannot be trusted.
    pub trust: Trust,
    /// True if the configured policy differs from the one that was last applied to the default engine;
    /// null if that engine is not loaded.
    pub policy_drift: Option<bool>,
}

/// Components that steps depend on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Backends {
    /// Event log.
    pub log: LogBackend,
    /// Provider of the model.
    pub model: &'static str,
    /// Id of the embedder.
    pub embedder: String,
    /// Version of the embedder.
    pub embedder_version: u32,
}

/// Authentication.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthStatus {
    /// `oidc`, `keys`, `oidc+keys`, `dev` or `none`.
    pub mode: &'static str,
    /// Keys of the identity provider; null without one.
    pub provider_keys: Option<ProviderKeysStatus>,
}

/// Keys of the identity provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderKeysStatus {
    /// Number of keys.
    pub keys: usize,
    /// Seconds since they were fetched; null if they never were.
    pub age_seconds: Option<i64>,
    /// `ok`, or `error` if there are none or they are too old to be used.
    pub status: &'static str,
}

/// Event log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogBackend {
    /// `sqlite` or `postgresql`.
    pub kind: &'static str,
    /// `ok`, or `error` if it does not accept writes.
    pub status: &'static str,
}

/// Loaded engines, in total.
#[derive(Debug, Serialize, ToSchema)]
pub struct EnginesInMemory {
    /// Number of loaded engines.
    pub loaded: usize,
    /// Largest number of events in the log that an engine has not processed yet; null if the log cannot
    /// be read.
    pub log_lag_events: Option<u64>,
    /// Steps without an outcome.
    pub open_steps: usize,
    /// Size of their memories in bytes.
    pub memory_bytes: usize,
}

/// Get a detailed report.
///
/// Returns components, circuit breakers, loaded engines and lag. The status is always 200; use `/health`
/// or `/health/ready` for probes.
#[utoipa::path(
    get,
    path = "/health/detailed",
    tag = "health",
    responses((status = 200, description = "The report", body = Detailed))
)]
pub async fn get(_: Public, state: Data<AppState>) -> Json<Detailed> {
    let writable = state.probes.writable(&state.engines).await.is_ok();
    let engines = in_memory(&state).await;
    let id = &state.engines.settings().default;
    let default = state.engines.in_memory().into_iter().find(|engine| engine.id() == id);
    let parts = state.engines.parts();
    let trust = trust(&state);
    let now = crate::clock::now_micros();
    Json(Detailed {
        status: match (state.stop.is_leaving(), writable && default.is_some() && trust.is_trusted())
        {
            (true, _) => "leaving",
            (false, true) => "healthy",
            (false, false) => "degraded",
        },
        version: env!("CARGO_PKG_VERSION"),
        started_at: crate::clock::rfc3339(state.started),
        uptime_seconds: now.saturating_sub(state.started).max(0) as u64 / 1_000_000,
        backends: Backends {
            log: LogBackend {
                kind: match parts.store {
                    Store::Sqlite(_) => "sqlite",
                    Store::Postgres(_) => "postgresql",
                },
                status: if writable { "ok" } else { "error" },
            },
            model: parts.llm.provider(),
            embedder: parts.embedder.id().to_owned(),
            embedder_version: parts.embedder.version(),
        },
        auth: auth(&state.auth),
        breakers: breakers(&parts.llm, &parts.embedder),
        engines,
        trust,
        policy_drift: default.map(|engine| policy_drift(&engine.view().state, &state.policy)),
    })
}

fn auth(auth: &Authenticator) -> AuthStatus {
    let provider_keys = auth.provider_keys().map(|keys| ProviderKeysStatus {
        keys: keys.keys,
        age_seconds: keys.age_seconds,
        status: if keys.usable { "ok" } else { "error" },
    });
    AuthStatus { mode: auth.mode(), provider_keys }
}

fn breakers(llm: &Llm, embedder: &Embedder) -> BTreeMap<String, String> {
    let state = embedder.breaker().map(|state| ("embedder".to_owned(), state.name().to_owned()));
    llm.breakers().into_iter().chain(state).collect()
}

async fn in_memory(state: &AppState) -> EnginesInMemory {
    let heads = state.probes.heads(&state.engines).await;
    let loaded = state.engines.in_memory();
    let behind = |engine: &std::sync::Arc<crate::engine::Engine>| {
        let head = heads.as_ref()?.get(engine.id())?;
        Some(head.saturating_sub(engine.view().state.position))
    };
    EnginesInMemory {
        loaded: loaded.iter().filter(|engine| !engine.id().is_system()).count(),
        log_lag_events: heads.as_ref().map(|_| loaded.iter().filter_map(behind).max().unwrap_or(0)),
        open_steps: loaded.iter().map(|engine| engine.view().state.open.size()).sum(),
        memory_bytes: loaded.iter().map(|engine| engine.view().state.lattice.bytes()).sum(),
    }
}
