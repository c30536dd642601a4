//! POST /v1/admin/shutdown and /v1/admin/resume

use actix_web::{
    HttpRequest,
    web::{Bytes, Data, Json, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::command::Intervene,
    engine::{Engine, Receipt},
    http::{
        AppState, Code, Problem,
        access::{Allowed, may},
        caller::{Loaded, engine_of},
        problem::ProblemBody,
    },
};

/// Longest reason, in characters.
const REASON_MAX: usize = 500;

/// Why.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In the actor's words; recorded in the log in clear.
    reason: Option<String>,
}

/// Which engines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Every engine that exists for the caller instead of one.
    #[serde(default)]
    all: bool,
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Intervened {
    /// `shutdown initiated` or `resumed`.
    status: &'static str,
    /// The engines concerned.
    engines: Vec<String>,
    /// Position of the event; of the head, when nothing had to be done. For one engine only.
    position: Option<u64>,
    /// Chain hash there, hexadecimal.
    chain_hash: Option<String>,
}

/// Admits nothing from now on; running steps end normally.
#[utoipa::path(
    post,
    path = "/v1/admin/shutdown",
    tag = "admin",
    params(Which),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "Shut down", body = Intervened),
        (status = 400, description = "Bad input (E1xx)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine (E408)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn shutdown(
    allowed: Allowed<may::AdminShutdown>,
    state: Data<AppState>,
    request: HttpRequest,
    which: Query<Which>,
    body: Bytes,
) -> Result<Json<Intervened>, Problem> {
    let act = intervene(&allowed, &body)?;
    let target = Target::of(&allowed, &state, &request, which.all).await?;
    target.each("shutdown initiated", async |engine| engine.shutdown(act.clone()).await).await
}

/// Admits again.
#[utoipa::path(
    post,
    path = "/v1/admin/resume",
    tag = "admin",
    params(Which),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "Resumed", body = Intervened),
        (status = 400, description = "Bad input (E1xx)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such engine (E408)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn resume(
    allowed: Allowed<may::AdminShutdown>,
    state: Data<AppState>,
    request: HttpRequest,
    which: Query<Which>,
    body: Bytes,
) -> Result<Json<Intervened>, Problem> {
    let act = intervene(&allowed, &body)?;
    let target = Target::of(&allowed, &state, &request, which.all).await?;
    target.each("resumed", async |engine| engine.resume(act.clone()).await).await
}

/// The body may be missing altogether.
fn intervene(allowed: &Allowed<may::AdminShutdown>, body: &[u8]) -> Result<Intervene, Problem> {
    let reason = if body.is_empty() {
        Reason::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|_| Problem::new(Code::BadField, "send nothing, or {\"reason\": \"…\"}"))?
    };
    let reason = reason.reason.unwrap_or_else(|| "unspecified".to_owned());
    if reason.chars().count() > REASON_MAX {
        let detail = format!("a reason may have at most {REASON_MAX} characters");
        return Err(Problem::new(Code::BadField, detail));
    }
    Ok(Intervene { actor: allowed.caller.actor.clone(), reason })
}

struct Target(Vec<std::sync::Arc<Engine>>);

impl Target {
    async fn of(
        allowed: &Allowed<may::AdminShutdown>,
        state: &AppState,
        request: &HttpRequest,
        all: bool,
    ) -> Result<Self, Problem> {
        if !all {
            return Ok(Self(vec![Loaded::of(allowed, state, request).await?.0]));
        }
        let mut engines = Vec::new();
        let all = state.engines.list().await?.into_iter().map(|(row, _)| row.engine_id);
        for id in all.filter(|id| allowed.principal.engines.contains(id)) {
            engines.push(engine_of(allowed, state, &id).await?);
        }
        Ok(Self(engines))
    }

    async fn each(
        self,
        status: &'static str,
        act: impl AsyncFn(&Engine) -> Result<Receipt, crate::engine::EngineError>,
    ) -> Result<Json<Intervened>, Problem> {
        let mut receipts = Vec::new();
        for engine in &self.0 {
            receipts.push(act(engine).await?);
        }
        let one = receipts.first().filter(|_| receipts.len() == 1);
        Ok(Json(Intervened {
            status,
            engines: self.0.iter().map(|engine| engine.id().to_string()).collect(),
            position: one.map(|receipt| receipt.position),
            chain_hash: one.map(|receipt| receipt.chain_hash.to_string()),
        }))
    }
}
