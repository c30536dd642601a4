//! Builds an [`engine::Caller`] from a request: the actor, the end user it acts for, the ids of the
//! request and its idempotency key.

use actix_web::{HttpMessage as _, HttpRequest, web::Data};

use super::{AppState, Code, Problem, request_id::RequestIds};
use crate::{
    auth::{Permission, Principal},
    engine,
};

/// The header that makes a repeated request safe.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key, in characters.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// The caller of a request.
pub(super) fn from_request(
    request: &HttpRequest,
    principal: &Principal,
) -> Result<engine::Caller, Problem> {
    let ids = request.extensions().get::<RequestIds>().cloned();
    let ids = ids.ok_or_else(|| Problem::new(Code::Internal, "the request has no ids"))?;
    let mut trace_id = [0; 16];
    let trace_id = hex::decode_to_slice(&ids.trace_id, &mut trace_id).ok().map(|()| trace_id);
    let state = request.app_data::<Data<AppState>>();
    let state = state.ok_or_else(|| Problem::new(Code::Internal, "no app state"))?;
    let end_user = state.end_users.in_header(request, principal)?;
    Ok(engine::Caller {
        actor: principal.subject.clone(),
        end_user,
        id: ids.id,
        client_request_id: ids.client_request_id,
        trace_id,
        route: route(request),
        may_assert: principal.may(Permission::MoralAssert),
        auth: Some(principal.credential()),
        key_limit: principal.budget,
        lease: request.extensions().get().cloned(),
        idempotency_key: header(request, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_MAX, |c| {
            c.is_ascii_graphic()
        })?,
    })
}

/// The route without its engine, so that an idempotency key counts for `/v1/generate` and its aliases
/// alike.
fn route(request: &HttpRequest) -> String {
    let pattern = request.match_pattern().unwrap_or_default();
    let inner = pattern.strip_prefix("/v1/engines/{engine}").unwrap_or(&pattern);
    let inner = inner.strip_prefix("/v1").unwrap_or(inner);
    format!("/v1{inner}")
}

/// The value of a header that may occur once.
pub(super) fn header(
    request: &HttpRequest,
    name: &'static str,
    max: usize,
    allowed: impl Fn(char) -> bool,
) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = |what: &str| Err(Problem::new(Code::BadHeader, format!("{name} {what}")));
    if values.next().is_some() {
        return invalid("occurs more than once; send it once");
    }
    let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
        return invalid("is not valid UTF-8");
    };
    match checked(text, max, allowed) {
        Some(text) => Ok(Some(text)),
        None => invalid(&format!("must be 1 to {max} printable characters")),
    }
}

fn checked(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> Option<String> {
    let text = text.trim();
    let valid = (1..=max).contains(&text.chars().count()) && text.chars().all(allowed);
    valid.then(|| text.to_owned())
}
