//! `GET /health`: summary of the server and its default engine.

use actix_web::{HttpResponse, http::header, web::Data};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{policy::Policy, state::State},
    http::{AppState, Problem, access::Public, health::trust::trust, problem::ProblemBody},
};

/// Fill level from which the memory check warns. A full memory is normal: it evicts items.
const MEMORY_WARNING_PERCENT: f64 = 95.0;

/// `Retry-After` of a 503, in seconds.
const RETRY_AFTER: u32 = 1;

/// Health of the server and its default engine.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, or `degraded` if a check fails.
    pub status: &'static str,
    /// Number of the last step.
    pub step: u64,
    /// `wake` or `sleep`.
    pub phase: &'static str,
    /// Items in memory.
    pub memory_used: usize,
    /// Capacity of the memory, in items.
    pub memory_capacity: usize,
    /// Checks.
    pub checks: Checks,
    /// True if the configured policy differs from the one that was last applied to the engine;
    /// `mlsdm policy apply` applies it.
    pub policy_drift: bool,
}

/// Checks of the default engine and the event log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checks {
    /// Memory.
    pub memory: MemoryCheck,
    /// Moral filter.
    pub moral_filter: MoralCheck,
    /// Sleep-wake rhythm.
    pub phase: PhaseCheck,
    /// Event log.
    pub log: LogCheck,
}

/// Check of the memory.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemoryCheck {
    /// `ok`, or `warning` from 95 % on, where the least valuable items are evicted; not a fault.
    pub status: &'static str,
    /// Items in memory.
    pub used: usize,
    /// Capacity of the memory, in items.
    pub capacity: usize,
    /// Fill level in percent, with two decimals.
    pub percentage: f64,
}

/// Check of the moral filter.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoralCheck {
    /// `ok`, or `error` if the threshold is outside the policy's bounds.
    pub status: &'static str,
    /// Threshold for a new data subject.
    pub threshold: f64,
}

/// Check of the sleep-wake rhythm.
#[derive(Debug, Serialize, ToSchema)]
pub struct PhaseCheck {
    /// `wake` or `sleep`.
    pub current: &'static str,
    /// Number of the last step.
    pub step: u64,
}

/// Check of the event log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogCheck {
    /// `ok`, `error` if it does not accept writes, or `untrusted` if events of the default engine's log or
    /// the server's own log are edited or missing.
    pub status: &'static str,
    /// Position of the last event that the engine has processed.
    pub position: u64,
}

/// Get a health summary.
///
/// Returns the health of the server and its default engine, with status 503 if the event log does not
/// accept writes. An untrusted engine is no reason for 503: other engines are served, and a restart would
/// not help.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses(
        (status = 200, description = "The event log accepts writes", body = Health),
        (status = 503, description = "The event log does not accept writes (status `degraded`), or the default engine is not loaded (a problem, E4xx or E705)",
         content((Health = "application/json"), (ProblemBody = "application/problem+json"))),
    )
)]
pub async fn get(_: Public, state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let writable = state.probes.writable(&state.engines).await;
    let engine = state.probes.default_engine(&state.engines, &state.tasks).await?;
    let log = match (writable.is_ok(), trust(&state).is_trusted()) {
        (false, _) => "error",
        (true, false) => "untrusted",
        (true, true) => "ok",
    };
    let health = Health::new(&engine.view().state, &state.policy, log);
    let mut response = if writable.is_ok() {
        HttpResponse::Ok()
    } else {
        let mut response = HttpResponse::ServiceUnavailable();
        response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
        response
    };
    Ok(response.json(health))
}

/// True if the configured policy differs from the one that was last applied from the configuration.
/// Changes by an operator do not count.
pub(crate) fn policy_drift(state: &State, configured: &Policy) -> bool {
    state.config.as_deref().is_some_and(|applied| applied != configured)
}

const fn word(ok: bool, otherwise: &'static str) -> &'static str {
    if ok { "ok" } else { otherwise }
}

impl Health {
    fn new(state: &State, configured: &Policy, log: &'static str) -> Self {
        let (used, capacity) = (state.lattice.len(), state.lattice.capacity());
        let percent = 100.0 * used as f64 / capacity.max(1) as f64;
        let phase = state.rhythm.phase.as_str();
        let threshold = state.threshold(None);
        let moral = &state.policy.moral;
        let bounded = (moral.min_threshold..=moral.max_threshold).contains(&threshold);
        Self {
            status: if log == "ok" && bounded { "healthy" } else { "degraded" },
            step: state.step,
            phase,
            memory_used: used,
            memory_capacity: capacity,
            checks: Checks {
                memory: MemoryCheck {
                    status: word(percent < MEMORY_WARNING_PERCENT, "warning"),
                    used,
                    capacity,
                    percentage: (percent * 100.0).round() / 100.0,
                },
                moral_filter: MoralCheck { status: word(bounded, "error"), threshold },
                phase: PhaseCheck { current: phase, step: state.step },
                log: LogCheck { status: log, position: state.position },
            },
            policy_drift: policy_drift(state, configured),
        }
    }
}
