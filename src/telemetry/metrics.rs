//! Metrics: what is counted, registered once with all its series, and moved without a lock.
//!
//! [`contract`] lists every name. Label values come from configuration and code, never from traffic,
//! so the number of series is fixed at the start, and every outcome is there at 0 from then on: an
//! error ratio is 0 before the first error, not empty. Whoever counts holds the counter itself; a
//! request looks its route up in a table that never changes.
//! Deliberately not here: serving them, and what a scrape looks up (`http::metrics`).

pub mod contract;
mod engines;
mod exemplars;
mod histogram;
mod http;
mod models;
mod process;
mod register;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use prometheus_client::metrics::counter::Counter;

use crate::{
    auth::{Permission, Reason},
    domain::ids::EngineId,
    store::Timings,
};

pub use engines::{EngineMetrics, Gauges, Overhead, Steps};
pub use histogram::Histogram;
pub use http::{Http, Route, UNMATCHED};
pub use models::{Call, Known, Models};
pub use process::Process;
pub use register::{Amount, Labels, Real, Register};

/// The value of a label for whatever no list names.
pub const OTHER: &str = "other";

/// By what a credential was offered, as the label `scheme`.
const SCHEMES: [&str; 3] = ["bearer", "api_key", OTHER];

/// The closed sets that labels are taken from, and counters that others hold.
#[derive(Debug)]
pub struct Scope {
    /// Which track of a release this process belongs to: `stable`, `canary`.
    pub track: String,
    /// Engines that are told apart.
    pub engines: Vec<EngineId>,
    /// What is served.
    pub routes: Vec<Route>,
    /// Models by provider.
    pub models: Known,
    /// Attempts at providers, counted there.
    pub attempts: Vec<(Labels, Counter)>,
    /// Texts looked up by the embedder's cache: known, being made, missing.
    pub lookups: [Counter; 3],
    /// How long the database takes.
    pub database: Timings,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            track: "stable".to_owned(),
            engines: vec![EngineId::default()],
            routes: Vec::new(),
            models: Known::default(),
            attempts: Vec::new(),
            lookups: Default::default(),
            database: Timings::default(),
        }
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// Where metrics are registered.
    pub register: Register,
    /// HTTP requests.
    pub http: Http,
    /// What engines have in common.
    pub steps: Arc<Steps>,
    /// Calls of models.
    pub models: Models,
    /// The process.
    pub process: Process,
    engines: HashMap<EngineId, Arc<EngineMetrics>>,
    others: Arc<EngineMetrics>,
    engine_overflow: Counter,
    auth_failures: Vec<Counter>,
    denied: Vec<Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&Scope::default())
    }
}

impl Metrics {
    /// All metrics with all their series, at 0.
    pub fn new(scope: &Scope) -> Self {
        let register = Register::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        register.info(&contract::BUILD, version);
        let overflowing = [contract::STEPS.name, contract::GEN_AI_DURATION.name];
        let overflow = register.by(&contract::LABEL_OVERFLOW, &overflowing, Counter::default);
        let overflow = |place: usize| overflow.get(place).cloned().unwrap_or_default();
        let steps = Arc::new(Steps::new(&register));
        let names: Vec<String> = scope.engines.iter().map(ToString::to_string).collect();
        let mut engines = engines::register(&register, &steps, &names);
        let others = engines.pop().unwrap_or_else(|| Arc::new(EngineMetrics::unnamed(&steps)));
        register.series(&contract::LLM_ATTEMPTS, scope.attempts.clone());
        let results = ["hit", "joined", "miss"].map(|result| vec![("result", result.to_owned())]);
        let lookups = results.into_iter().zip(scope.lookups.iter().cloned());
        register.series(&contract::EMBED_CACHE, lookups.collect());
        let permissions: Vec<&str> = Permission::ALL.iter().map(|known| known.as_str()).collect();
        logged(&register);
        database(&register, &scope.database);
        Self {
            http: Http::new(&register, &scope.routes, &scope.track),
            models: Models::new(&register, &scope.models, overflow(1)),
            process: Process::new(&register),
            engines: scope.engines.iter().cloned().zip(engines).collect(),
            others,
            engine_overflow: overflow(0),
            auth_failures: auth_failures(&register),
            denied: register.by(&contract::DENIED, &permissions, Counter::default),
            steps,
            register,
        }
    }

    /// The numbers of an engine that is being loaded: its own if a list names it. The server's own
    /// log takes no steps and remembers nothing: it counts among the others, and nothing is amiss.
    pub fn engine(&self, id: &EngineId) -> Arc<EngineMetrics> {
        if !self.engines.contains_key(id) && !id.is_system() {
            self.engine_overflow.inc();
        }
        Arc::clone(self.of(id))
    }

    /// The numbers that an engine counts in, loaded or not.
    pub fn of(&self, id: &EngineId) -> &Arc<EngineMetrics> {
        self.engines.get(id).unwrap_or(&self.others)
    }

    /// The engines that have gauges.
    pub fn engines(&self) -> impl Iterator<Item = (&EngineId, &Gauges)> {
        self.engines.iter().filter_map(|(id, engine)| Some((id, engine.gauges.as_ref()?)))
    }

    /// Counts a credential that is refused; `scheme` is `bearer` or `api_key`.
    pub fn refused(&self, scheme: &str, reason: Reason) {
        let scheme = SCHEMES.iter().position(|known| *known == scheme);
        let reason = Reason::ALL.iter().position(|known| *known == reason);
        let place =
            reason.map(|reason| scheme.unwrap_or(SCHEMES.len() - 1) * Reason::ALL.len() + reason);
        if let Some(counter) = place.and_then(|place| self.auth_failures.get(place)) {
            counter.inc();
        }
    }

    /// Counts a request that is not permitted.
    pub fn denied(&self, permission: Permission) {
        let place = Permission::ALL.iter().position(|known| *known == permission);
        if let Some(counter) = place.and_then(|place| self.denied.get(place)) {
            counter.inc();
        }
    }
}

/// A counter for each scheme and reason, in that order.
fn auth_failures(register: &Register) -> Vec<Counter> {
    let mut series: Vec<(Labels, Counter)> = Vec::new();
    for scheme in SCHEMES {
        for reason in Reason::ALL {
            let labels = vec![("scheme", scheme.to_owned()), ("reason", reason.to_string())];
            series.push((labels, Counter::default()));
        }
    }
    let counters = series.iter().map(|(_, counter)| counter.clone()).collect();
    register.series(&contract::AUTH_FAILURES, series);
    counters
}

/// Registers how long the database takes.
fn database(register: &Register, timings: &Timings) {
    let operations = [("SELECT", &timings.read), ("COMMIT", &timings.commit)];
    let operations = operations
        .map(|(name, histogram)| (vec![("db_operation_name", name.to_owned())], histogram.clone()));
    register.series(&contract::DB_OPERATIONS, operations.to_vec());
    register.one(&contract::DB_WAIT, timings.wait.clone());
}

/// Registers what the log counts of itself.
fn logged(register: &Register) {
    let levels = super::logs::levels().iter();
    let levels = levels.map(|(level, count)| (vec![("level", (*level).to_owned())], count.clone()));
    register.series(&contract::LOG_MESSAGES, levels.collect());
    let lost = super::loss::lost().map(|(sink, reason, count)| {
        let labels = [("signal", "logs"), ("sink", sink.as_str()), ("reason", reason.as_str())];
        (owned(labels), count)
    });
    register.series(&contract::DROPPED, lost.chain(spans()).collect());
    let successes = super::loss::successes().map(|(sink, at)| (sink.as_str(), at));
    let traces = super::traces::counts().last_success().map(|at| ("otlp", at));
    let successes = successes.chain(traces).map(|(sink, at)| (owned([("sink", sink)]), at));
    register.series(&contract::LAST_SUCCESS, successes.collect());
    shipped(register);
}

/// Lost spans by reason.
fn spans() -> impl Iterator<Item = (Labels, Counter)> {
    let reasons = super::traces::REASONS.into_iter().zip(&super::traces::counts().dropped);
    reasons.map(|(reason, lost)| {
        let labels = [("signal", "traces"), ("sink", "otlp"), ("reason", reason)];
        (owned(labels), lost.clone())
    })
}

/// Registers what was made for each sink, and what it took.
fn shipped(register: &Register) {
    let spans = super::traces::counts();
    let spans = (owned([("signal", "traces"), ("sink", "otlp")]), &spans.emitted, &spans.delivered);
    let lines = super::loss::sinks().map(|counted| {
        let labels = owned([("signal", "logs"), ("sink", counted.sink.as_str())]);
        (labels, &counted.emitted, &counted.delivered)
    });
    let (mut emitted, mut delivered) = (Vec::new(), Vec::new());
    for (labels, made, taken) in lines.chain([spans]) {
        emitted.push((labels.clone(), made.clone()));
        delivered.push((labels, taken.clone()));
    }
    register.series(&contract::EMITTED, emitted);
    register.series(&contract::DELIVERED, delivered);
}

fn owned<const N: usize>(labels: [(&'static str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name, value.to_owned())).to_vec()
}
