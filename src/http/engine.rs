//! The engine of a request, for an authorized caller.

use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, web::Data};

use super::{
    AppState, Code, Problem,
    access::{Access, Authorized, Guard, Requirement},
    caller,
    end_user::EndUsers,
    turned_away::CalledEngine,
};
use crate::{
    auth::Principal,
    domain::ids::{ENGINE_ID_MAX, EngineId, InvalidEngineId},
    engine::{Caller, Engine},
    store::StoreError,
};

/// The header that names the engine, on routes in the dialects of OpenAI and Anthropic.
const ENGINE: &str = "x-mlsdm-engine";
/// Longest name of a model, in characters.
const MODEL_MAX: usize = 200;
/// The name of the configured model.
pub(super) const CONFIGURED: &str = "default";

/// A call of an engine by a caller who meets the requirement `R`.
///
/// As an extractor it authorizes the caller and loads the engine in the path, or the default engine
/// if the path names none.
pub struct EngineCall<R> {
    /// The authenticated principal.
    pub principal: Arc<Principal>,
    /// The caller as engines see it.
    pub caller: Caller,
    /// The engine, loaded.
    pub engine: Arc<Engine>,
    requirement: PhantomData<R>,
}

impl<R: Requirement> Guard for EngineCall<R> {
    const ACCESS: Access = R::ACCESS;
}

impl<R: Requirement> FromRequest for EngineCall<R> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let authorized = Authorized::<R>::authorize(&request)?;
            let state = request.app_data::<Data<AppState>>();
            let state = state.ok_or_else(|| Problem::new(Code::Internal, "no app state"))?;
            let engine = engine_in_path(&authorized.principal, state, &request).await?;
            Ok(Self::new(authorized, &request, engine))
        })
    }
}

impl<R: Requirement> EngineCall<R> {
    fn new(authorized: Authorized<R>, request: &HttpRequest, engine: Arc<Engine>) -> Self {
        request.extensions_mut().insert(CalledEngine(engine.id().clone()));
        let Authorized { principal, caller, .. } = authorized;
        Self { principal, caller, engine, requirement: PhantomData }
    }

    /// The call of a request in the dialect of OpenAI or Anthropic, and its model, unless it is the
    /// configured one.
    ///
    /// The engine is the one in the path, else the one in the header, else the part of `model` before
    /// its first slash (unless `model` is the name of an allowed model), else the default engine.
    pub(super) async fn for_model(
        authorized: Authorized<R>,
        state: &AppState,
        request: &HttpRequest,
        model: Option<&str>,
    ) -> Result<(Self, Option<String>), Problem> {
        let in_header = caller::header(request, ENGINE, ENGINE_ID_MAX, |c| c.is_ascii_graphic())?;
        let in_path = request.match_info().get("engine").map(str::to_owned);
        let (name, model) = split_model(in_path.or(in_header), model, state);
        if model.is_some_and(|model| model.chars().count() > MODEL_MAX) {
            let detail =
                format!("model is longer than {MODEL_MAX} characters; send a shorter name");
            return Err(Problem::new(Code::BadField, detail));
        }
        let engine = visible_engine(&authorized.principal, state, name.as_deref()).await?;
        Ok((Self::new(authorized, request, engine), model.map(str::to_owned)))
    }

    /// Sets the end user of a step: the one in the header, or the one that the request body names.
    pub(super) fn on_behalf_of(
        mut self,
        user: Option<String>,
        users: &EndUsers,
    ) -> Result<Self, Problem> {
        self.caller.end_user = users.of_step(&self.principal, self.caller.end_user.take(), user)?;
        Ok(self)
    }

    /// The data subject: the end user, or the actor.
    pub(super) fn subject(&self) -> &str {
        self.caller.end_user.as_deref().unwrap_or(&self.caller.actor)
    }
}

/// The name of the engine and the model without it.
fn split_model<'a>(
    named: Option<String>,
    model: Option<&'a str>,
    state: &AppState,
) -> (Option<String>, Option<&'a str>) {
    let model = model.map(str::trim).filter(|model| !model.is_empty());
    let prefixed =
        model.filter(|model| !state.models.contains(model)).and_then(|model| model.split_once('/'));
    let (name, model) = match (named, prefixed) {
        (Some(name), Some((engine, rest))) if engine == name => (Some(name), Some(rest)),
        (Some(name), _) => (Some(name), model),
        (None, Some((engine, rest))) => (Some(engine.to_owned()), Some(rest)),
        (None, None) => (None, model),
    };
    (name, model.filter(|model| !model.is_empty() && *model != CONFIGURED))
}

/// The engine in the path, or the default engine.
pub(super) async fn engine_in_path(
    principal: &Principal,
    state: &AppState,
    request: &HttpRequest,
) -> Result<Arc<Engine>, Problem> {
    visible_engine(principal, state, request.match_info().get("engine")).await
}

async fn visible_engine(
    principal: &Principal,
    state: &AppState,
    name: Option<&str>,
) -> Result<Arc<Engine>, Problem> {
    let id = match name {
        None => state.engines.settings().default.clone(),
        Some(name) => name.parse().map_err(|error: InvalidEngineId| {
            Problem::new(Code::InvalidEngineId, error.to_string())
        })?,
    };
    engine_by_id(principal, state, &id).await
}

/// The only place that decides on visibility: an engine outside the principal's scope is answered like
/// an engine that does not exist.
pub(super) async fn engine_by_id(
    principal: &Principal,
    state: &AppState,
    id: &EngineId,
) -> Result<Arc<Engine>, Problem> {
    if !principal.engines.contains(id) {
        return Err(StoreError::EngineMissing(id.clone()).into());
    }
    Ok(state.engines.get(id).await?)
}
