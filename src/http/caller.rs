//! Who asks and which engine: extractors, so that a handler's signature says what it needs.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, web};

use super::{AppState, Code, Problem, RequestIds};
use crate::{
    domain::ids::{BadEngineId, ENGINE_ID_MAX, EngineId},
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
    /// The same caller, speaking for whom the body names, unless the header names somebody.
    pub fn on_behalf_of(mut self, user: Option<String>) -> Result<Self, Problem> {
        if let (None, Some(user)) = (&self.0.end_user, user) {
            let name = checked(&user, END_USER_MAX, |c| !c.is_control()).ok_or_else(|| {
                let detail = format!("user must be 1 to {END_USER_MAX} printable characters");
                Problem::new(Code::BadField, detail)
            })?;
            self.0.end_user = Some(name);
        }
        Ok(self)
    }

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
            .unwrap_or_else(|| Ok(state.engines.settings().default.clone()))
            .map_err(|error: BadEngineId| Problem::new(Code::BadEngineId, error.to_string()))?;
        Ok(Self(state.engines.get(&id).await?))
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
    pub async fn by(
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
        let id = name.map_or_else(default, |name| name.parse());
        let id: EngineId =
            id.map_err(|error: BadEngineId| Problem::new(Code::BadEngineId, error.to_string()))?;
        let engine = state.engines.get(&id).await?;
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
