//! Who asks and which engine: extractors, so that a handler's signature says what it needs.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, web};

use super::{AppState, Code, Problem, RequestIds};
use crate::{
    domain::ids::{BadEngineId, EngineId},
    engine::{self, Engine},
};

/// The actor while there is no authentication.
const ANONYMOUS: &str = "anonymous";

/// Names the data subject, if it is not the actor.
const END_USER: &str = "x-mlsdm-end-user";
/// Longest name of a data subject, in characters.
const END_USER_MAX: usize = 128;

/// Makes a repeated request safe.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key, in characters.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// Who asks, and by which request.
#[derive(Clone, Debug)]
pub struct Caller(pub engine::Caller);

impl Caller {
    /// Whose words the request's are.
    pub fn subject(&self) -> &str {
        self.0.end_user.as_deref().unwrap_or(&self.0.actor)
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).map(Self))
    }
}

fn caller(request: &HttpRequest) -> Result<engine::Caller, Problem> {
    let ids = request.extensions().get::<RequestIds>().cloned();
    let ids = ids.ok_or_else(|| Problem::new(Code::Internal, "a request without ids"))?;
    let mut trace_id = [0; 16];
    let trace_id = hex::decode_to_slice(&ids.trace_id, &mut trace_id).ok().map(|()| trace_id);
    Ok(engine::Caller {
        actor: ANONYMOUS.to_owned(),
        end_user: header(request, END_USER, END_USER_MAX, |c| !c.is_control())?,
        request_id: ids.request_id,
        trace_id,
        route: route(request),
        idempotency_key: header(request, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_MAX, |c| {
            c.is_ascii_graphic()
        })?,
    })
}

/// The route without its engine: `/v1/generate` and its alias are one and the same.
fn route(request: &HttpRequest) -> String {
    let pattern = request.match_pattern().unwrap_or_default();
    let inner = pattern.strip_prefix("/v1/engines/{engine}").unwrap_or(&pattern);
    let inner = inner.strip_prefix("/v1").unwrap_or(inner);
    format!("/v1{inner}")
}

fn header(
    request: &HttpRequest,
    name: &'static str,
    max: usize,
    allowed: impl Fn(char) -> bool,
) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    let refuse = |what: &str| Err(Problem::new(Code::BadHeader, format!("{name} {what}")));
    if values.next().is_some() {
        return refuse("is given more than once; give it once");
    }
    let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
        return refuse("is not UTF-8 text");
    };
    let text = text.trim();
    if !(1..=max).contains(&text.chars().count()) || !text.chars().all(allowed) {
        return refuse(&format!("must be 1 to {max} printable characters"));
    }
    Ok(Some(text.to_owned()))
}

/// The engine a request names, loaded; `default` where the path names none.
pub struct Loaded(pub Arc<Engine>);

impl FromRequest for Loaded {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let state = request.app_data::<web::Data<AppState>>();
            let state = state.ok_or_else(|| Problem::new(Code::Internal, "no state"))?;
            Self::of(state, &request).await
        })
    }
}

impl Loaded {
    /// The engine a request's path names.
    pub async fn of(state: &AppState, request: &HttpRequest) -> Result<Self, Problem> {
        let named = request.match_info().get("engine").map(str::parse::<EngineId>);
        let id = named
            .unwrap_or_else(|| Ok(EngineId::default()))
            .map_err(|error: BadEngineId| Problem::new(Code::BadEngineId, error.to_string()))?;
        Ok(Self(state.engines.get(&id).await?))
    }
}
