//! GET /health

use actix_web::{HttpResponse, http::header, web::Data};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{policy::Policy, state::State},
    http::{AppState, Problem, access::Anyone, problem::ProblemBody},
};

/// From this share of its capacity on the memory's check warns; full is its normal state.
const MEMORY_WARNING_PERCENT: f64 = 95.0;

/// When to ask again after a 503, in seconds.
const RETRY_AFTER: u32 = 1;

/// How the server and its default engine are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, or `degraded` on a fault.
    pub status: &'static str,
    /// The last step number given.
    pub step: u64,
    /// `wake` or `sleep`.
    pub phase: &'static str,
    /// Items in memory.
    pub memory_used: usize,
    /// Items it can hold.
    pub memory_capacity: usize,
    /// What was looked at.
    pub checks: Checks,
    /// Whether the configured policy differs from the one the engine was given last;
    /// `mlsdm policy apply` applies it.
    pub policy_drift: bool,
}

/// What was looked at.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checks {
    /// The lattice memory.
    pub memory: MemoryCheck,
    /// The moral filter.
    pub moral_filter: MoralCheck,
    /// The rhythm.
    pub phase: PhaseCheck,
    /// The log.
    pub log: LogCheck,
}

/// The lattice memory.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemoryCheck {
    /// `ok`, or `warning` from 95 % on: nothing is wrong, the least valuable items leave.
    pub status: &'static str,
    /// Items held.
    pub used: usize,
    /// Items it can hold.
    pub capacity: usize,
    /// The share of them, two decimals.
    pub percentage: f64,
}

/// The moral filter.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoralCheck {
    /// `ok`, or `error` outside the policy's bounds.
    pub status: &'static str,
    /// The threshold of a data subject never heard of.
    pub threshold: f64,
}

/// The rhythm.
#[derive(Debug, Serialize, ToSchema)]
pub struct PhaseCheck {
    /// `wake` or `sleep`.
    pub current: &'static str,
    /// The last step number given.
    pub step: u64,
}

/// The log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogCheck {
    /// `ok`, or `error` when it cannot be written.
    pub status: &'static str,
    /// The last position folded.
    pub position: u64,
}

/// How the server and its default engine are; 503 when the log cannot be written.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses(
        (status = 200, description = "Steps can be recorded", body = Health),
        (status = 503, description = "The log cannot be written (status `degraded`); or, as a problem, the default engine is not loaded (E4xx, E705)",
         content((Health = "application/json"), (ProblemBody = "application/problem+json"))),
    )
)]
pub async fn get(_: Anyone, state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let writable = state.pulse.writable(&state).await;
    let engine = state.pulse.default_engine(&state).await?;
    let health = Health::new(&engine.view().state, &state.policy, writable.is_ok());
    let mut response = if writable.is_ok() {
        HttpResponse::Ok()
    } else {
        let mut response = HttpResponse::ServiceUnavailable();
        response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
        response
    };
    Ok(response.json(health))
}

/// Whether the configuration asks for another policy than the engine was given from configuration
/// last; what an operator changed since is no drift.
pub(crate) fn policy_drift(state: &State, configured: &Policy) -> bool {
    state.config.as_deref().is_some_and(|applied| applied != configured)
}

const fn word(ok: bool, otherwise: &'static str) -> &'static str {
    if ok { "ok" } else { otherwise }
}

impl Health {
    fn new(state: &State, configured: &Policy, writable: bool) -> Self {
        let (used, capacity) = (state.lattice.len(), state.lattice.capacity());
        let percent = 100.0 * used as f64 / capacity.max(1) as f64;
        let phase = state.rhythm.phase.as_str();
        let threshold = state.threshold(None);
        let moral = &state.policy.moral;
        let bounded = (moral.min_threshold..=moral.max_threshold).contains(&threshold);
        Self {
            status: if writable && bounded { "healthy" } else { "degraded" },
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
                log: LogCheck { status: word(writable, "error"), position: state.position },
            },
            policy_drift: policy_drift(state, configured),
        }
    }
}
