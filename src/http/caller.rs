//! Builds an [`engine::Caller`] from a request: the actor, the end user it acts for, the ids of the
//! request and its idempotency key.

use actix_web::{HttpMessage as _, HttpRequest};

use super::{Code, Problem, request_id::RequestIds};
use crate::{
    auth::{Permission, Principal},
    engine,
};

/// The header that names the data subject if it is not the actor.
const END_USER: &str = "x-mlsdm-end-user";
/// Longest name of a data subject, in characters.
const END_USER_MAX: usize = 128;

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
    let end_user = header(request, END_USER, END_USER_MAX, |c| !c.is_control())?;
    Ok(engine::Caller {
        actor: principal.subject.clone(),
        end_user: end_user.map(|name| delegated(principal, name)).transpose()?,
        id: ids.id,
        client_request_id: ids.client_request_id,
        trace_id,
        route: route(request),
        auth: Some(principal.credential()),
        key_limit: principal.budget,
        idempotency_key: header(request, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_MAX, |c| {
            c.is_ascii_graphic()
        })?,
    })
}

/// The end user that a request body names, if the principal may act for it.
pub(super) fn end_user(principal: &Principal, name: &str) -> Result<String, Problem> {
    let name = checked(name, END_USER_MAX, |c| !c.is_control()).ok_or_else(|| {
        let detail =
            format!("the end user's name must be 1 to {END_USER_MAX} printable characters");
        Problem::new(Code::BadField, detail)
    })?;
    delegated(principal, name)
}

/// The only place that decides on delegation: principals may act for themselves, and for others with
/// the permission `subject:delegate`.
fn delegated(principal: &Principal, name: String) -> Result<String, Problem> {
    if name == principal.subject || principal.may(Permission::SubjectDelegate) {
        return Ok(name);
    }
    let permission = Permission::SubjectDelegate;
    tracing::warn!(
        event_type = "auth.forbidden",
        actor = principal.subject,
        %permission,
        "subject delegation denied"
    );
    let detail = format!(
        "acting for another end user needs the permission {permission}; name yourself or no end user"
    );
    Err(Problem::new(Code::OtherSubject, detail))
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
