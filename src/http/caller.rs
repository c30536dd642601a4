//! Who asks and which engine: extractors, so that a handler's signature says what it needs.

use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, web};

use super::{
    AppState, Code, Problem, RequestIds,
    access::{Allowed, Need},
};
use crate::{
    auth::{Permission, Principal},
    domain::ids::{ENGINE_ID_MAX, EngineId, InvalidEngineId},
    engine::{self, Engine},
    store::StoreError,
};

/// Names the data subject, if it is not the actor.
const END_USER: &str = "x-mlsdm-end-user";
/// Longest name of a data subject, in characters.
const END_USER_MAX: usize = 128;

/// Makes a repeated request safe.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key, in characters.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// Who asks as engines are told, by which request, and whom they speak for.
pub(super) fn of(request: &HttpRequest, principal: &Principal) -> Result<engine::Caller, Problem> {
    let ids = request.extensions().get::<RequestIds>().cloned();
    let ids = ids.ok_or_else(|| Problem::new(Code::Internal, "a request without ids"))?;
    let mut trace_id = [0; 16];
    let trace_id = hex::decode_to_slice(&ids.trace_id, &mut trace_id).ok().map(|()| trace_id);
    let named = header(request, END_USER, END_USER_MAX, |c| !c.is_control())?;
    Ok(engine::Caller {
        actor: principal.subject.clone(),
        end_user: named.map(|named| speak_for(principal, named)).transpose()?,
        request_id: ids.request_id,
        trace_id,
        route: route(request),
        key_limit: principal.budget,
        idempotency_key: header(request, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_MAX, |c| {
            c.is_ascii_graphic()
        })?,
    })
}

/// The end user that a body names.
pub(super) fn end_user(principal: &Principal, named: &str) -> Result<String, Problem> {
    let name = checked(named, END_USER_MAX, |c| !c.is_control()).ok_or_else(|| {
        let detail = format!("user must be 1 to {END_USER_MAX} printable characters");
        Problem::new(Code::BadField, detail)
    })?;
    speak_for(principal, name)
}

/// The one place that says who may speak for whom: everybody for themselves, for others who has the
/// permission.
fn speak_for(principal: &Principal, name: String) -> Result<String, Problem> {
    if name == principal.subject || principal.may(Permission::SubjectDelegate) {
        return Ok(name);
    }
    let permission = Permission::SubjectDelegate;
    tracing::warn!(
        event_type = "auth.forbidden",
        actor = principal.subject,
        %permission,
        "a request speaks for somebody else"
    );
    let detail = format!("name no end user but yourself, or ask for the permission {permission}");
    Err(Problem::new(Code::OtherSubject, detail))
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
    match checked(text, max, allowed) {
        Some(text) => Ok(Some(text)),
        None => refuse(&format!("must be 1 to {max} printable characters")),
    }
}

fn checked(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> Option<String> {
    let text = text.trim();
    let fits = (1..=max).contains(&text.chars().count()) && text.chars().all(allowed);
    fits.then(|| text.to_owned())
}

/// The one place that says which engines there are for somebody: one that is another's is as missing
/// as one that does not exist.
pub(super) async fn engine_of<N: Need>(
    allowed: &Allowed<N>,
    state: &AppState,
    id: &EngineId,
) -> Result<Arc<Engine>, Problem> {
    if !allowed.principal.engines.contains(id) {
        return Err(StoreError::EngineMissing(id.clone()).into());
    }
    Ok(state.engines.get(id).await?)
}

fn engine_id(name: &str) -> Result<EngineId, Problem> {
    name.parse()
        .map_err(|error: InvalidEngineId| Problem::new(Code::InvalidEngineId, error.to_string()))
}

/// The engine a request names, loaded, for a caller who has what is needed; the default one where the
/// path names none.
pub struct Loaded<N>(pub Arc<Engine>, PhantomData<N>);

impl<N: Need> FromRequest for Loaded<N> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let state = request.app_data::<web::Data<AppState>>();
            let state = state.ok_or_else(|| Problem::new(Code::Internal, "no state"))?;
            Self::of(&Allowed::of(&request)?, state, &request).await
        })
    }
}

impl<N: Need> Loaded<N> {
    /// The engine a request's path names.
    pub async fn of(
        allowed: &Allowed<N>,
        state: &AppState,
        request: &HttpRequest,
    ) -> Result<Self, Problem> {
        let default = || Ok(state.engines.settings().default.clone());
        let id = request.match_info().get("engine").map_or_else(default, engine_id)?;
        Ok(Self(engine_of(allowed, state, &id).await?, PhantomData))
    }
}

/// Names the engine, on routes whose path does not.
const ENGINE: &str = "x-mlsdm-engine";
/// Longest name of a model, in characters.
const MODEL_MAX: usize = 200;
/// The name by which a client asks for the configured model.
const CONFIGURED: &str = "default";

/// The engine and the model of a request in the dialect of a model's API.
pub struct Addressed {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The model, if not the configured one.
    pub model: Option<String>,
}

impl Addressed {
    /// The engine that the path names, else the header, else the part of `model` before its first
    /// slash (unless the whole is the name of a model that is configured or allowed), else the default one.
    pub async fn by<N: Need>(
        allowed: &Allowed<N>,
        state: &AppState,
        request: &HttpRequest,
        model: Option<&str>,
    ) -> Result<Self, Problem> {
        let in_header = header(request, ENGINE, ENGINE_ID_MAX, |c| c.is_ascii_graphic())?;
        let in_path = request.match_info().get("engine").map(str::to_owned);
        let model = model.map(str::trim).filter(|model| !model.is_empty());
        let prefixed = model
            .filter(|model| !state.models.knows(model))
            .and_then(|model| model.split_once('/'));
        let (name, model) = match (in_path.or(in_header), prefixed) {
            (Some(name), Some((engine, rest))) if engine == name => (Some(name), Some(rest)),
            (Some(name), _) => (Some(name), model),
            (None, Some((engine, rest))) => (Some(engine.to_owned()), Some(rest)),
            (None, None) => (None, model),
        };
        let model = model.filter(|model| !model.is_empty() && *model != CONFIGURED);
        if model.is_some_and(|model| model.chars().count() > MODEL_MAX) {
            let detail = format!("model may have at most {MODEL_MAX} characters");
            return Err(Problem::new(Code::BadField, detail));
        }
        let default = || Ok(state.engines.settings().default.clone());
        let id = name.map_or_else(default, |name| engine_id(&name))?;
        let engine = engine_of(allowed, state, &id).await?;
        Ok(Self { engine, model: model.map(str::to_owned) })
    }
}

/// The models a server knows by name.
#[derive(Clone, Debug)]
pub struct Models {
    /// The configured one.
    pub default: String,
    /// Others that requests may name.
    pub others: Vec<String>,
}

impl Models {
    /// The configured one, then the others.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let others = self.others.iter().filter(|other| **other != self.default);
        std::iter::once(&self.default).chain(others).map(String::as_str)
    }

    /// Whether this is the name of one.
    pub fn knows(&self, model: &str) -> bool {
        self.default == model || self.others.iter().any(|other| other == model)
    }
}
