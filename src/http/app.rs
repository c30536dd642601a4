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
    identity, openapi, rate, request, slow, v1,
};
use crate::{
    auth::Authenticator,
    config::{Config, MoralRefusal},
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

impl AppState {
    /// The state of a server with this configuration.
    pub fn new(config: &Config, auth: Arc<Authenticator>, engines: Engines, tasks: Tasks) -> Self {
        let limits = &config.limits;
        let stop = tasks.stop().clone();
        let limiter = Limiter::new(limits.concurrency, limits.queue, config.api.timeout());
        Self {
            engines,
            auth,
            tasks,
            stop,
            limiter,
            rates: limits.rate.rates().map(Arc::new),
            proxies: Proxies {
                trusted: config.api.trusted_proxies.clone(),
                header: config.api.forwarded_header,
            },
            cors_origins: config.api.cors_origins.clone(),
            body_timeout: limits.body_timeout(),
            body_bytes: limits.body_bytes,
            docs: config.api.docs,
            models: Models { default: config.llm.model.clone(), others: config.llm.models.clone() },
            refusal: config.api.refusal,
            policy: config.mlsdm.policy.clone(),
            started: crate::clock::now_micros(),
            pulse: Pulse::default(),
            streams: Arc::new(Semaphore::new(v1::events::stream::STREAMS_MAX)),
        }
    }
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
