//! `/v1/keys`: lists, creates, revokes and rotates API keys.
//!
//! Keys are events of the system log. This replica applies a change before it answers; the others apply
//! it when they see the log grow, within a second. A caller sees only keys whose engines it can all see,
//! and cannot create a key with permissions or engines that it lacks.

mod grant;
mod show;

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json},
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
        access::{Authorized, permission},
        body::{JsonBody, RawBody},
        problem::responses::{KeyListProblems, KeyProblems, NewKeyProblems, RotationProblems},
    },
    store::writer::WriteError,
};
pub use grant::{NewKey, Rotation};
pub use show::{CreatedKey, KeyBudget, KeyList, KeySummary, RateLimit, RevokedKey};

type Caller = Authorized<permission::KeyAdmin>;

/// List API keys.
///
/// Returns the keys whose engines the caller can all see, oldest first, without their secrets. Keys from
/// the configuration are not included. An expired key is listed until the next key is created.
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "keys",
    responses(
        (status = 200, description = "The keys, without their secrets", body = KeyList),
        KeyListProblems,
    )
)]
pub async fn list(authorized: Caller, state: Data<AppState>) -> Result<Json<KeyList>, Problem> {
    let system = state.engines.system().await?;
    let now = state.engines.parts().store.local_time();
    let view = system.view();
    let visible =
        view.state.keys.iter().filter(|(_, key)| grant::is_visible(&authorized.principal, key));
    let keys = visible.map(|(id, key)| KeySummary::of(*id, key, now)).collect();
    Ok(Json(KeyList { keys }))
}

/// Create an API key.
///
/// The response is the only place where the secret appears; the server stores a hash of it. The key
/// cannot have permissions or engines that the caller lacks.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "keys",
    request_body = NewKey,
    responses(
        (status = 201, description = "The key with its secret", body = CreatedKey),
        NewKeyProblems,
    )
)]
pub async fn post(
    authorized: Caller,
    state: Data<AppState>,
    JsonBody(body): JsonBody<NewKey>,
) -> Result<HttpResponse, Problem> {
    let keys = enabled_keys(&state)?;
    let grant = body.grant(&state.engines.settings().default)?;
    grant::check(&authorized.principal, keys.roles(), &grant)?;
    let id = crate::ids::key_id();
    let (secret, hash) = mint(id).map_err(|error| Problem::internal(&error))?;
    let system = state.engines.system().await?;
    let actor = authorized.caller.actor.clone();
    let receipt = system.create_key(CreateKey { id, hash, grant, actor }).await?;
    Ok(HttpResponse::Created().json(created(&state, &system, id, (&secret, &receipt))?))
}

/// Revoke an API key.
///
/// Takes effect immediately on this replica, and within a second on the others. Cannot be undone.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "keys",
    params(("id" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "The key was revoked", body = RevokedKey),
        KeyProblems,
    )
)]
pub async fn delete(
    authorized: Caller,
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<Json<RevokedKey>, Problem> {
    let (id, system, _) = key_in_path(&authorized, &state, &request).await?;
    let actor = authorized.caller.actor.clone();
    let receipt = system.revoke_key(RevokeKey { id, actor }).await?;
    state.auth.apply_keys(&system.view());
    Ok(Json(RevokedKey {
        id: id.to_string(),
        status: "revoked",
        position: receipt.position,
        chain_hash: receipt.chain_hash.to_string(),
    }))
}

/// Rotate an API key.
///
/// Replaces the secret of the key. The previous secret stays valid for `grace_seconds`, by default 0.
/// The caller must have all permissions of the key.
#[utoipa::path(
    post,
    path = "/v1/keys/{id}/rotate",
    tag = "keys",
    params(("id" = String, Path, description = "Id of the key")),
    request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The key with its new secret", body = CreatedKey),
        RotationProblems,
    )
)]
pub async fn rotate(
    authorized: Caller,
    state: Data<AppState>,
    request: HttpRequest,
    RawBody(body): RawBody,
) -> Result<Json<CreatedKey>, Problem> {
    let keys = enabled_keys(&state)?;
    let grace_seconds = Rotation::read(&body)?.grace_seconds;
    let (id, system, key) = key_in_path(&authorized, &state, &request).await?;
    // the new secret grants the permissions of the key to the caller
    grant::check(&authorized.principal, keys.roles(), &key.grant)?;
    let (secret, hash) = mint(id).map_err(|error| Problem::internal(&error))?;
    let actor = authorized.caller.actor.clone();
    let receipt = system.rotate_key(RotateKey { id, hash, grace_seconds, actor }).await?;
    Ok(Json(created(&state, &system, id, (&secret, &receipt))?))
}

/// Applies the change to this replica and builds the response with the secret.
fn created(
    state: &AppState,
    system: &Engine,
    id: KeyId,
    (secret, receipt): (&SecretString, &Receipt),
) -> Result<CreatedKey, Problem> {
    state.auth.apply_keys(&system.view());
    let key = find(system, id)?;
    let now = state.engines.parts().store.local_time();
    Ok(CreatedKey {
        key: secret.expose_secret().to_owned(),
        summary: KeySummary::of(id, &key, now),
        position: receipt.position,
        chain_hash: receipt.chain_hash.to_string(),
    })
}

/// The key store, or an error if the authentication mode accepts no API keys.
fn enabled_keys(state: &AppState) -> Result<&Keys, Problem> {
    state.auth.keys().ok_or_else(|| {
        let detail = format!(
            "auth.mode is {}, which accepts no API keys; set it to `oidc+keys`, `keys` or `dev`",
            state.auth.mode()
        );
        Problem::new(Code::KeysNotTaken, detail)
    })
}

/// The key in the path, if the caller can see it.
async fn key_in_path(
    authorized: &Caller,
    state: &AppState,
    request: &HttpRequest,
) -> Result<(KeyId, Arc<Engine>, Arc<ApiKey>), Problem> {
    let id: KeyId = request.match_info().query("id").parse().map_err(|_| {
        Problem::new(
            Code::BadParameter,
            "id must be 32 hexadecimal digits; GET /v1/keys lists the ids",
        )
    })?;
    let system = state.engines.system().await?;
    let key = find(&system, id)?;
    if !grant::is_visible(&authorized.principal, &key) {
        return Err(missing(id));
    }
    Ok((id, system, key))
}

fn find(system: &Engine, id: KeyId) -> Result<Arc<ApiKey>, Problem> {
    system.view().state.keys.get(id).cloned().ok_or_else(|| missing(id))
}

fn missing(id: KeyId) -> Problem {
    WriteError::Refused(Refusal::NoKey { id }).into()
}
