//! `GET /metrics`, on a port of its own.
//!
//! A scrape looks up what has a present value (memories, queues, pools, the process), then writes all
//! metrics. It shares no thread and no limit with requests: a busy server can still be seen, and a
//! scrape cannot slow it down. Deliberately not on the public port: numbers say a lot.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::{Server, ServerHandle},
    http::header,
    web,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::Handle;

use super::{app::endpoints, health::summary::policy_drift, server::ServeError};
use crate::{
    config::Config,
    domain::{ids::EngineId, moral::MoralFilter, policy::Policy, rhythm::Phase, state::State},
    embed::Embedder,
    engine::{Engine, Engines},
    llm::Llm,
    store::Store,
    telemetry::metrics::{Gauges, Labels, Metrics, Route, Scope, contract},
};

/// What a scrape answers with.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at once; more wait for the system.
const CONNECTIONS_MAX: usize = 16;

/// How long the head of a scrape may take to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a scrape that runs may take when the server stops, in seconds.
const STOP_SECONDS: u64 = 2;

/// The metrics of a server with this configuration.
pub fn metrics(config: &Config, store: &Store, llm: &Llm, embedder: &Embedder) -> Metrics {
    let routes = endpoints().into_iter().map(|endpoint| Route {
        pattern: endpoint.pattern().to_owned(),
        template: endpoint.path(),
        methods: endpoint.methods().iter().map(|(method, _)| method.to_string()).collect(),
    });
    let mut engines: Vec<EngineId> = vec![config.engine.default_id().clone()];
    for engine in &config.monitoring.engines {
        if !engines.contains(engine) {
            engines.push(engine.clone());
        }
    }
    let attempts = llm.attempts().map(|(provider, outcome, counter)| {
        let labels = [("provider", provider), ("outcome", outcome)];
        (labels.map(|(name, value)| (name, value.to_owned())).to_vec(), counter)
    });
    Metrics::new(&Scope {
        track: config.monitoring.track.clone(),
        engines,
        routes: routes.collect(),
        models: llm.known(),
        attempts: attempts.collect(),
        lookups: embedder.lookups(),
        database: store.timings().clone(),
    })
}

/// Looks up and writes what a scrape wants.
pub struct Exporter {
    metrics: Arc<Metrics>,
    engines: Engines,
    policy: Policy,
    runtime: Handle,
    drift: Gauge,
    breakers: Vec<(&'static str, Gauge)>,
    pools: Vec<Pool>,
    /// When a scrape looked last.
    looked: Mutex<Instant>,
}

struct Pool {
    name: &'static str,
    idle: Gauge,
    used: Gauge,
    max: Gauge,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Registers what is looked up. Once for one set of metrics. `policy` is the configured one,
    /// `runtime` that of the long-lived tasks.
    pub fn new(engines: Engines, policy: Policy, runtime: Handle) -> Self {
        let metrics = Arc::clone(&engines.parts().metrics);
        let register = &metrics.register;
        let drift = register.one(&contract::POLICY_DRIFT, Gauge::default());
        let providers: Vec<&'static str> = engines.parts().llm.known().into_keys().collect();
        let gauges = register.by(&contract::LLM_BREAKER, &providers, Gauge::default);
        let breakers = providers.into_iter().zip(gauges).collect();
        let pools = engines.parts().store.pools().into_iter().map(|(name, _)| Pool {
            name,
            idle: Gauge::default(),
            used: Gauge::default(),
            max: Gauge::default(),
        });
        let pools: Vec<Pool> = pools.collect();
        register_pools(&metrics, &pools);
        let looked = Mutex::new(Instant::now());
        Self { metrics, engines, policy, runtime, drift, breakers, pools, looked }
    }

    /// All metrics, as `OpenMetrics` text. Reads files of the system: not for a thread of requests.
    ///
    /// # Errors
    /// When a metric cannot be written, which is a defect.
    pub fn scrape(&self) -> Result<String, fmt::Error> {
        let since = {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *looked, Instant::now()).elapsed()
        };
        let loaded = self.engines.in_memory();
        for (id, gauges) in self.metrics.engines() {
            if let Some(engine) = loaded.iter().find(|engine| engine.id() == id) {
                look(engine, gauges, since);
            }
        }
        let default = &self.engines.settings().default;
        if let Some(engine) = loaded.iter().find(|engine| engine.id() == default) {
            self.drift.set(policy_drift(&engine.view().state, &self.policy).into());
        }
        let states = self.engines.parts().llm.breakers();
        for (provider, gauge) in &self.breakers {
            gauge.set(states.get(*provider).map_or(0, |state| breaker(state)));
        }
        for (name, now) in self.engines.parts().store.pools() {
            if let Some(pool) = self.pools.iter().find(|pool| pool.name == name) {
                pool.idle.set(now.idle as i64);
                pool.used.set(now.used as i64);
                pool.max.set(now.max as i64);
            }
        }
        self.metrics.process.look(&self.runtime);
        self.metrics.register.text()
    }
}

/// The present state of an engine. One that was unloaded keeps what was seen last: nothing has
/// changed it here.
fn look(engine: &Engine, gauges: &Gauges, since: Duration) {
    let view = engine.view();
    let state: &State = &view.state;
    gauges.memory_used.set(state.lattice.len() as i64);
    gauges.memory_bytes.set(state.lattice.bytes() as i64);
    gauges.memory_capacity.set(state.lattice.capacity() as i64);
    gauges.phase.set(match state.rhythm.phase {
        Phase::Wake => 0,
        Phase::Sleep => 1,
    });
    gauges.shutdown.set(state.shutdown.is_some().into());
    gauges.queue.set(engine.queue_depth() as i64);
    let threshold = state.threshold(None);
    gauges.threshold.set(threshold);
    let moral = &state.policy.moral;
    let [lowest, highest] = &gauges.threshold_bounds;
    let [least, most] = MoralFilter::bounds(moral);
    lowest.set(least);
    highest.set(most);
    let saturated = state.filter.is_saturated(moral);
    gauges.saturation.inc_by(if saturated { since.as_secs_f64() } else { 0.0 });
}

fn breaker(state: &str) -> i64 {
    match state {
        "open" => 2,
        "half_open" => 1,
        _ => 0,
    }
}

fn register_pools(metrics: &Metrics, pools: &[Pool]) {
    let label = |pool: &Pool| ("db_client_connection_pool_name", pool.name.to_owned());
    let mut connections: Vec<(Labels, Gauge)> = Vec::new();
    for pool in pools {
        for (state, gauge) in [("idle", &pool.idle), ("used", &pool.used)] {
            let state = ("db_client_connection_state", state.to_owned());
            connections.push((vec![label(pool), state], gauge.clone()));
        }
    }
    metrics.register.series(&contract::DB_CONNECTIONS, connections);
    let most = pools.iter().map(|pool| (vec![label(pool)], pool.max.clone()));
    metrics.register.series(&contract::DB_CONNECTIONS_MAX, most.collect());
}

/// Listens for scrapes where the configuration says, if it wants any.
///
/// # Errors
/// When the address cannot be had.
pub fn listen(config: &Config) -> Result<Option<TcpListener>, ServeError> {
    if !config.monitoring.enabled {
        return Ok(None);
    }
    let address = SocketAddr::new(config.api.host, config.monitoring.metrics_port);
    TcpListener::bind(address)
        .map(Some)
        .map_err(|source| ServeError::ListenMetrics { address: address.to_string(), source })
}

/// Answers scrapes, once it is run, until its handle stops it.
pub(super) fn serve(
    exporter: Exporter,
    listener: TcpListener,
) -> std::io::Result<(Server, ServerHandle)> {
    let exporter = web::Data::new(exporter);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(exporter.clone())
            .service(web::resource("/metrics").route(web::get().to(answer)))
    })
    .workers(1)
    .max_connections(CONNECTIONS_MAX)
    .client_request_timeout(HEAD_TIMEOUT)
    .shutdown_timeout(STOP_SECONDS)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok((server, handle))
}

async fn answer(exporter: web::Data<Exporter>) -> HttpResponse {
    match web::block(move || exporter.scrape()).await {
        Ok(Ok(text)) => {
            HttpResponse::Ok().insert_header((header::CONTENT_TYPE, CONTENT_TYPE)).body(text)
        }
        Ok(Err(_)) | Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

#[cfg(test)]
mod tests;
