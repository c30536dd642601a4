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
        caller::{Caller, Loaded},
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
    /// Every engine of the log instead of one.
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
    state: Data<AppState>,
    request: HttpRequest,
    caller: Caller,
    which: Query<Which>,
    body: Bytes,
) -> Result<Json<Intervened>, Problem> {
    let act = intervene(&caller, &body)?;
    let target = Target::of(&state, &request, which.all).await?;
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
    state: Data<AppState>,
    request: HttpRequest,
    caller: Caller,
    which: Query<Which>,
    body: Bytes,
) -> Result<Json<Intervened>, Problem> {
    let act = intervene(&caller, &body)?;
    let target = Target::of(&state, &request, which.all).await?;
    target.each("resumed", async |engine| engine.resume(act.clone()).await).await
}

/// The body may be missing altogether.
fn intervene(caller: &Caller, body: &[u8]) -> Result<Intervene, Problem> {
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
    Ok(Intervene { actor: caller.0.actor.clone(), reason })
}

struct Target(Vec<std::sync::Arc<Engine>>);

impl Target {
    async fn of(state: &AppState, request: &HttpRequest, all: bool) -> Result<Self, Problem> {
        if !all {
            return Ok(Self(vec![Loaded::of(state, request).await?.0]));
        }
        let mut engines = Vec::new();
        for (row, _) in state.engines.list().await? {
            engines.push(state.engines.get(&row.engine_id).await?);
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
