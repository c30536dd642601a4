//! GET and POST /v1/keys, DELETE /v1/keys/{id}, POST /v1/keys/{id}/rotate
//!
//! Acts on keys are events of the server's own log. This replica takes what came of them before it
//! answers; others as soon as they see the log grow, within a second. A key whose engines are not
//! all the caller's does not exist for the caller, and nobody gives what they do not have.

mod grant;
mod show;

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data, Json},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    auth::keys::{Keys, mint},
    domain::{
        command::{CreateKey, Refusal, RevokeKey, RotateKey},
        ids::KeyId,
        keys::ApiKey,
    },
    engine::{Engine, Receipt},
    http::{
        AppState, Code, Problem,
        access::{Allowed, may},
        problem::ProblemBody,
    },
    store::writer::WriteError,
};
pub use grant::{NewKey, Rotation};
pub use show::{CreatedKey, KeyBudget, KeyList, KeySummary, RateLimit, RevokedKey};

/// Where keys are.
pub const PATH: &str = "/v1/keys";

type Caller = Allowed<may::KeyAdmin>;

/// Lists the API keys whose engines are all the caller's, in the order in which they were created.
/// Those of configuration are not among them. One that has expired is listed until another is created.
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "keys",
    responses(
        (status = 200, description = "The keys; never their secrets", body = KeyList),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(allowed: Caller, state: Data<AppState>) -> Result<Json<KeyList>, Problem> {
    let system = state.engines.system().await?;
    let now = state.engines.parts().store.local_time();
    let view = system.view();
    let visible =
        view.state.keys.iter().filter(|(_, key)| grant::is_visible(&allowed.principal, key));
    let keys = visible.map(|(id, key)| KeySummary::of(*id, key, now)).collect();
    Ok(Json(KeyList { keys }))
}

/// Creates an API key. The answer is the only place where its secret ever is.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "keys",
    request_body = NewKey,
    responses(
        (status = 201, description = "Created; with its secret", body = CreatedKey),
        (status = 400, description = "Bad input (E1xx)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "There are too many keys, or this server takes none (E205, E206)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (E904)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json (E903)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    allowed: Caller,
    state: Data<AppState>,
    body: Json<NewKey>,
) -> Result<HttpResponse, Problem> {
    let keys = taken(&state)?;
    let grant = body.into_inner().grant(&state.engines.settings().default)?;
    grant::check(&allowed.principal, keys.roles(), &grant)?;
    let id = crate::ids::key_id();
    let (secret, hash) = mint(id).map_err(|error| Problem::internal(&error))?;
    let system = state.engines.system().await?;
    let actor = allowed.caller.actor.clone();
    let receipt = system.create_key(CreateKey { id, hash, grant, actor }).await?;
    Ok(HttpResponse::Created().json(handed(&state, &system, id, (&secret, &receipt))?))
}

/// Revokes an API key, at once and for good.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "keys",
    params(("id" = String, Path, description = "The key's id")),
    responses(
        (status = 200, description = "Revoked", body = RevokedKey),
        (status = 400, description = "Not an id (E110)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such key (E204)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    allowed: Caller,
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<Json<RevokedKey>, Problem> {
    let (id, system, _) = named(&allowed, &state, &request).await?;
    let actor = allowed.caller.actor.clone();
    let receipt = system.revoke_key(RevokeKey { id, actor }).await?;
    state.auth.take(&system.view());
    Ok(Json(RevokedKey {
        id: id.to_string(),
        status: "revoked",
        position: receipt.position,
        chain_hash: receipt.chain_hash.to_string(),
    }))
}

/// Gives an API key another secret; everything else about it stays. The secret before counts for
/// `grace_seconds`, by default no longer.
#[utoipa::path(
    post,
    path = "/v1/keys/{id}/rotate",
    tag = "keys",
    params(("id" = String, Path, description = "The key's id")),
    request_body = Option<Rotation>,
    responses(
        (status = 200, description = "Rotated; with its new secret", body = CreatedKey),
        (status = 400, description = "Bad input (E102, E110)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such key (E204)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "This server takes no keys (E206)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (E904)", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log is unavailable or damaged (E4xx)", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rotate(
    allowed: Caller,
    state: Data<AppState>,
    request: HttpRequest,
    body: Bytes,
) -> Result<Json<CreatedKey>, Problem> {
    let keys = taken(&state)?;
    let grace_seconds = Rotation::read(&body)?.grace_seconds;
    let (id, system, key) = named(&allowed, &state, &request).await?;
    // its secret lets do what the key may
    grant::check(&allowed.principal, keys.roles(), &key.grant)?;
    let (secret, hash) = mint(id).map_err(|error| Problem::internal(&error))?;
    let actor = allowed.caller.actor.clone();
    let receipt = system.rotate_key(RotateKey { id, hash, grace_seconds, actor }).await?;
    Ok(Json(handed(&state, &system, id, (&secret, &receipt))?))
}

/// The answer with a secret: from here on this replica knows it.
fn handed(
    state: &AppState,
    system: &Engine,
    id: KeyId,
    (secret, receipt): (&SecretString, &Receipt),
) -> Result<CreatedKey, Problem> {
    state.auth.take(&system.view());
    let key = known(system, id)?;
    let now = state.engines.parts().store.local_time();
    Ok(CreatedKey {
        key: secret.expose_secret().to_owned(),
        summary: KeySummary::of(id, &key, now),
        position: receipt.position,
        chain_hash: receipt.chain_hash.to_string(),
    })
}

/// The keys, where any are taken: nobody is given one that opens nothing.
fn taken(state: &AppState) -> Result<&Keys, Problem> {
    state.auth.keys().ok_or_else(|| {
        let detail = format!(
            "auth.mode is {}; set it to `oidc+keys`, `keys` or `dev` for API keys",
            state.auth.mode().as_str()
        );
        Problem::new(Code::KeysNotTaken, detail)
    })
}

/// The key that a path names, if it exists for the caller.
async fn named(
    allowed: &Caller,
    state: &AppState,
    request: &HttpRequest,
) -> Result<(KeyId, Arc<Engine>, Arc<ApiKey>), Problem> {
    let id: KeyId = request.match_info().query("id").parse().map_err(|_| {
        Problem::new(
            Code::BadParameter,
            "id must be 32 hexadecimal digits; GET /v1/keys lists them",
        )
    })?;
    let system = state.engines.system().await?;
    let key = known(&system, id)?;
    if !grant::is_visible(&allowed.principal, &key) {
        return Err(missing(id));
    }
    Ok((id, system, key))
}

fn known(system: &Engine, id: KeyId) -> Result<Arc<ApiKey>, Problem> {
    system.view().state.keys.get(id).cloned().ok_or_else(|| missing(id))
}

fn missing(id: KeyId) -> Problem {
    WriteError::Refused(Refusal::NoKey { id }).into()
}
