//! The exporter: registers the metrics of all modules, and for each scrape reads the current values
//! of engines, circuit breakers, connection pools and the process.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tokio::runtime::Handle;

use super::requests::HttpMetrics;
use crate::{
    domain::policy::Policy,
    engine::Engines,
    http::health::summary::policy_drift,
    llm::{self, metrics::BreakerMetrics},
    metrics::{Counter, EncodeLabelSet, Gauge, Registry, Spec, process::ProcessMetrics, specs},
    store::{self, metrics::PoolMetrics},
    telemetry,
};

specs! {
    POLICY_DRIFT = Gauge "mlsdm_policy_drift" [] "" "1 while the configured policy differs from the default engine's"
    LABEL_OVERFLOW = Counter "mlsdm_label_overflow_total" ["metric"] "" "Label values counted as `other` because they are not configured"
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct OverflowLabels {
    metric: &'static str,
}

/// All metrics of the process, and the sources of their current values.
pub struct Exporter {
    registry: Registry,
    engines: Engines,
    /// The configured policy.
    policy: Policy,
    /// The runtime of long-lived tasks.
    runtime: Handle,
    drift: Gauge,
    breakers: BreakerMetrics,
    pools: PoolMetrics,
    process: ProcessMetrics,
    last_scrape: Mutex<Instant>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Registers the metrics of all modules. `policy` is the configured one, `runtime` that of the
    /// long-lived tasks.
    pub fn new(engines: Engines, http: &HttpMetrics, policy: Policy, runtime: Handle) -> Self {
        let parts = engines.parts();
        let mut registry = Registry::default();
        http.register(&mut registry);
        parts.metrics.register(&mut registry);
        parts.store.metrics().register(&mut registry);
        parts.embedder.cache_metrics().register(&mut registry);
        llm::metrics::register_attempts(&mut registry, parts.llm.attempts());
        telemetry::metrics::register(&mut registry);
        let drift = Gauge::default();
        registry.metric(&POLICY_DRIFT, &drift);
        let overflow = |spec: &Spec, counter: &Counter| {
            (OverflowLabels { metric: spec.name }, counter.clone())
        };
        registry.family(
            &LABEL_OVERFLOW,
            [
                overflow(&store::metrics::events::STEPS, &parts.metrics.overflow),
                overflow(&llm::metrics::GEN_AI_DURATION, &parts.metrics.calls.overflow),
            ],
        );
        let breakers = BreakerMetrics::new(&parts.llm.breaker_states());
        breakers.register(&mut registry);
        let pools = PoolMetrics::new(parts.store.pools().into_iter().map(|(name, _)| name));
        pools.register(&mut registry);
        let process = ProcessMetrics::default();
        process.register(&mut registry);
        let last_scrape = Mutex::new(Instant::now());
        Self { registry, engines, policy, runtime, drift, breakers, pools, process, last_scrape }
    }

    /// All metrics, as `OpenMetrics` text. Reads files: not for a thread that serves requests.
    ///
    /// # Errors
    /// Fails if a metric cannot be encoded, which is a defect.
    pub fn scrape(&self) -> Result<String, fmt::Error> {
        let elapsed = {
            let mut last = self.last_scrape.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *last, Instant::now()).elapsed()
        };
        let default = &self.engines.settings().default;
        let parts = self.engines.parts();
        let engines = self.engines.in_memory();
        let untrusted = engines.iter().filter(|engine| engine.damage().is_some());
        parts.metrics.set_untrusted(&untrusted.map(|e| e.id().clone()).collect::<Vec<_>>());
        for engine in engines {
            let view = engine.view();
            parts.metrics.update(engine.id(), &view.state, engine.queue_depth(), elapsed);
            if engine.id() == default {
                self.drift.set(policy_drift(&view.state, &self.policy).into());
            }
        }
        self.breakers.update(&parts.llm.breaker_states());
        self.pools.update(parts.store.pools());
        self.process.update(&self.runtime);
        self.registry.text()
    }
}
