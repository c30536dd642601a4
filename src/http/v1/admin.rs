//! `POST /v1/admin/shutdown` and `/v1/admin/resume`: emergency shutdown of an engine.

use actix_web::{
    HttpRequest,
    web::{Data, Json, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::command::Intervene,
    engine::{Engine, Receipt},
    http::{
        AppState, Code, Problem,
        access::{Authorized, permission},
        body::RawBody,
        engine::{engine_by_id, engine_in_path},
        problem::responses::InterventionProblems,
    },
};

/// Longest reason, in characters.
const REASON_MAX: usize = 500;

/// The body of a shutdown or resume.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The reason, stored unencrypted in the event log; at most 500 characters.
    reason: Option<String>,
}

/// The engines to act on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Act on all engines that the caller can see.
    #[serde(default)]
    all: bool,
}

/// The result of a shutdown or resume.
#[derive(Debug, Serialize, ToSchema)]
pub struct Intervened {
    /// `shutdown initiated` or `resumed`.
    status: &'static str,
    /// Ids of the engines.
    engines: Vec<String>,
    /// Position of the event, or of the last event if the engine already was in this state. Null
    /// unless exactly one engine was addressed.
    position: Option<u64>,
    /// Chain hash at that position, hexadecimal.
    chain_hash: Option<String>,
}

/// Shut an engine down.
///
/// The engine rejects all new steps with 503 until it is resumed. Running steps complete normally. The
/// event log records the actor and the reason.
#[utoipa::path(
    post,
    path = "/v1/admin/shutdown",
    tag = "admin",
    params(Which),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The engines are shut down", body = Intervened),
        InterventionProblems,
    )
)]
pub async fn shutdown(
    authorized: Authorized<permission::AdminShutdown>,
    state: Data<AppState>,
    request: HttpRequest,
    which: Query<Which>,
    RawBody(body): RawBody,
) -> Result<Json<Intervened>, Problem> {
    let act = intervene(&authorized, &body)?;
    let target = Target::of(&authorized, &state, &request, which.all).await?;
    target.each("shutdown initiated", async |engine| engine.shutdown(act.clone()).await).await
}

/// Resume an engine.
///
/// The engine accepts steps again after a shutdown.
#[utoipa::path(
    post,
    path = "/v1/admin/resume",
    tag = "admin",
    params(Which),
    request_body = Option<Reason>,
    responses(
        (status = 200, description = "The engines are resumed", body = Intervened),
        InterventionProblems,
    )
)]
pub async fn resume(
    authorized: Authorized<permission::AdminShutdown>,
    state: Data<AppState>,
    request: HttpRequest,
    which: Query<Which>,
    RawBody(body): RawBody,
) -> Result<Json<Intervened>, Problem> {
    let act = intervene(&authorized, &body)?;
    let target = Target::of(&authorized, &state, &request, which.all).await?;
    target.each("resumed", async |engine| engine.resume(act.clone()).await).await
}

/// Parses the body, which may be empty.
fn intervene(
    authorized: &Authorized<permission::AdminShutdown>,
    body: &[u8],
) -> Result<Intervene, Problem> {
    let reason = if body.is_empty() {
        Reason::default()
    } else {
        serde_json::from_slice(body).map_err(|_| {
            Problem::new(
                Code::BadField,
                "the body is not valid; send no body, or {\"reason\": \"…\"}",
            )
        })?
    };
    let reason = reason.reason.unwrap_or_else(|| "unspecified".to_owned());
    if reason.chars().count() > REASON_MAX {
        let detail = format!("reason is longer than {REASON_MAX} characters; shorten it");
        return Err(Problem::new(Code::BadField, detail));
    }
    Ok(Intervene { actor: authorized.caller.actor.clone(), reason })
}

struct Target(Vec<std::sync::Arc<Engine>>);

impl Target {
    async fn of(
        authorized: &Authorized<permission::AdminShutdown>,
        state: &AppState,
        request: &HttpRequest,
        all: bool,
    ) -> Result<Self, Problem> {
        if !all {
            return Ok(Self(vec![engine_in_path(&authorized.principal, state, request).await?]));
        }
        let mut engines = Vec::new();
        let all = state.engines.list().await?.into_iter().map(|(row, _)| row.engine_id);
        for id in all.filter(|id| authorized.principal.engines.contains(id)) {
            engines.push(engine_by_id(&authorized.principal, state, &id).await?);
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
