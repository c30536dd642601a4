//! GET /health/detailed, GET /status

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::summary::policy_drift;
use crate::{
    auth::Authenticator,
    embed::Embedder,
    http::{AppState, access::Anyone},
    llm::Llm,
    store::Store,
};

/// What runs, since when, and how far behind it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detailed {
    /// `healthy`, `degraded` (the log cannot be written or the default engine is not loaded), or
    /// `leaving`.
    pub status: &'static str,
    /// Of this program.
    pub version: &'static str,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// What steps depend on.
    pub backends: Backends,
    /// Circuit breakers by what is called, of this replica: `closed`, `open` or `half_open`.
    pub breakers: BTreeMap<String, String>,
    /// How callers prove who they are.
    pub auth: AuthStatus,
    /// Engines in memory.
    pub engines: EnginesInMemory,
    /// Whether the configured policy differs from the one the default engine was given last; null
    /// while that is not loaded.
    pub policy_drift: Option<bool>,
}

/// What steps depend on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Backends {
    /// The log.
    pub log: LogBackend,
    /// Who answers.
    pub model: &'static str,
    /// What makes vectors.
    pub embedder: String,
    /// Its version.
    pub embedder_version: u32,
}

/// How callers prove who they are.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthStatus {
    /// `oidc`, `keys`, `oidc+keys`, `dev` or `none`.
    pub mode: &'static str,
    /// The identity provider's keys; null without a provider.
    pub provider_keys: Option<ProviderKeysStatus>,
}

/// The keys of the identity provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderKeysStatus {
    /// How many.
    pub keys: usize,
    /// Seconds since they were fetched; null before.
    pub age_seconds: Option<i64>,
    /// `ok`, or `error` when there are none or they are too old to count.
    pub status: &'static str,
}

/// The log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogBackend {
    /// `sqlite` or `postgresql`.
    pub kind: &'static str,
    /// `ok`, or `error` when it cannot be written.
    pub status: &'static str,
}

/// Engines in memory, all together.
#[derive(Debug, Serialize, ToSchema)]
pub struct EnginesInMemory {
    /// How many.
    pub loaded: usize,
    /// Events in the log that the engine furthest behind has not folded yet; null when the log does
    /// not say.
    pub log_lag_events: Option<u64>,
    /// Steps without an ending.
    pub open_steps: usize,
    /// Bytes their memories take.
    pub memory_bytes: usize,
}

/// What runs, since when, and how far behind it is. Always 200: probes ask `/health`.
#[utoipa::path(
    get,
    path = "/health/detailed",
    tag = "health",
    responses((status = 200, description = "The report", body = Detailed))
)]
pub async fn get(_: Anyone, state: Data<AppState>) -> Json<Detailed> {
    let writable = state.pulse.writable(&state).await.is_ok();
    let engines = in_memory(&state).await;
    let id = &state.engines.settings().default;
    let default = state.engines.in_memory().into_iter().find(|engine| engine.id() == id);
    let parts = state.engines.parts();
    let now = crate::clock::now_micros();
    Json(Detailed {
        status: match (state.stop.is_leaving(), writable && default.is_some()) {
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
        policy_drift: default.map(|engine| policy_drift(&engine.view().state, &state.policy)),
    })
}

fn auth(auth: &Authenticator) -> AuthStatus {
    let provider_keys = auth.provider_keys().map(|keys| ProviderKeysStatus {
        keys: keys.keys,
        age_seconds: keys.age_seconds,
        status: if keys.usable { "ok" } else { "error" },
    });
    AuthStatus { mode: auth.mode().as_str(), provider_keys }
}

fn breakers(llm: &Llm, embedder: &Embedder) -> BTreeMap<String, String> {
    let state = embedder.breaker().map(|state| ("embedder".to_owned(), state.name().to_owned()));
    llm.breakers().into_iter().chain(state).collect()
}

async fn in_memory(state: &AppState) -> EnginesInMemory {
    let heads = state.pulse.heads(state).await;
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
