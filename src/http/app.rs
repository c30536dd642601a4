//! The app: everything served, put together once, for the server and for in-process tests.

use std::{sync::Arc, time::Duration};

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web,
};
use tokio::sync::Semaphore;

use super::{
    Endpoint,
    caller::Models,
    client::Proxies,
    cors::cors,
    errors,
    health::{self, pulse::Pulse},
    identity,
    metrics::HttpMetrics,
    openapi, rate, request, slow, v1,
};
use crate::{
    auth::Authenticator,
    config::MoralRefusal,
    domain::{ids::Micros, policy::Policy},
    engine::Engines,
    lifecycle::{Stop, Tasks},
    limiter::Limiter,
    rates::Rates,
};

/// What all handlers share. Made once, outside the factory, which runs once a worker.
pub struct AppState {
    /// The engines.
    pub engines: Engines,
    /// Knows who is calling.
    pub auth: Arc<Authenticator>,
    /// Counts requests.
    pub metrics: Arc<HttpMetrics>,
    /// Runs steps beyond the life of a request.
    pub tasks: Tasks,
    /// How far a stop has come.
    pub stop: Stop,
    /// Requests served at once.
    pub limiter: Limiter,
    /// How often somebody may ask; none: as often as he likes.
    pub rates: Option<Arc<Rates>>,
    /// The proxies in front of the server.
    pub proxies: Proxies,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// How long a body may take to come.
    pub body_timeout: Duration,
    /// Largest request body in bytes.
    pub body_bytes: usize,
    /// Whether `/docs` and `/openapi.json` are served.
    pub docs: bool,
    /// The models requests may name.
    pub models: Models,
    /// What a moral refusal is on routes that are compatible with models' APIs.
    pub refusal: MoralRefusal,
    /// The policy of engines created without one.
    pub policy: Policy,
    /// When the server started.
    pub started: Micros,
    /// What probes asked lately.
    pub pulse: Pulse,
    /// Streams of events served at once.
    pub streams: Arc<Semaphore>,
}

/// Everything served, each route with what it demands.
pub fn endpoints() -> Vec<Endpoint> {
    [health::endpoints(), v1::endpoints(), openapi::endpoints()].into_iter().flatten().collect()
}

/// The whole app over a state.
pub fn create_app(
    state: web::Data<AppState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let docs = state.docs;
    let cors = cors(&state.cors_origins);
    App::new()
        .app_data(errors::json(state.body_bytes))
        .app_data(web::PayloadConfig::new(state.body_bytes))
        .app_data(errors::query())
        .app_data(errors::path())
        .app_data(state)
        .configure(|services| {
            for endpoint in
                endpoints().into_iter().filter(|endpoint| docs || !openapi::is_docs(endpoint))
            {
                services.service(endpoint.build());
            }
        })
        .default_service(web::to(errors::not_found))
        .wrap(from_fn(slow::body))
        .wrap(from_fn(request::limit))
        .wrap(from_fn(rate::limit))
        .wrap(from_fn(identity::identify))
        .wrap(cors)
        // the last one is the first to see a request
        .wrap(from_fn(request::surround))
}
