//! Metrics of engines: steps, the audit, and the current state of each engine.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        ids::{EngineId, Position},
        moral::MoralFilter,
        rhythm::Phase,
        state::State,
    },
    llm::metrics::{CallMetrics, KnownModels},
    metrics::{
        Counter, EncodeLabelSet, FloatCounter, FloatGauge, Gauge, Histogram, OTHER, Registry,
        SECONDS, Spec, specs,
    },
    store::metrics::{EngineLabels, EventMetrics},
};

specs! {
    REQUESTS = Counter "mlsdm_requests_total" ["engine"] "" "Governed requests that reached an engine, including idempotent replays"
    SATURATION = Counter "mlsdm_moral_saturation_seconds_total" ["engine"] "seconds" "Time the threshold stood at a bound and could not move further, as seen by scrapes"
    MEMORY_USED = Gauge "mlsdm_memory_used" ["engine"] "" "Items in memory; a full memory is normal"
    MEMORY_BYTES = Gauge "mlsdm_memory_bytes" ["engine"] "bytes" "Resident size of the memory"
    MEMORY_CAPACITY = Gauge "mlsdm_memory_capacity" ["engine"] "" "Most items the memory can hold"
    THRESHOLD_BOUND = Gauge "mlsdm_moral_threshold_bound" ["engine", "bound"] "" "Bounds within which the policy lets the threshold move"
    THRESHOLD = Gauge "mlsdm_moral_threshold" ["engine"] "" "Threshold for an end user without a history"
    PHASE = Gauge "mlsdm_phase" ["engine"] "" "0 wake, 1 sleep"
    SHUTDOWN_ACTIVE = Gauge "mlsdm_emergency_shutdown_active" ["engine"] "" "1 while the engine is shut down and admits nothing"
    QUEUE_DEPTH = Gauge "mlsdm_writer_queue_depth" ["engine"] "" "Commands waiting for the engine's writer"
    LATENCY = Histogram "mlsdm_latency_seconds" [] "seconds" "Duration of a governed step, from its arrival at the engine to its recorded end"
    GENERATION = Histogram "mlsdm_generation_duration_seconds" [] "seconds" "Time spent waiting for the model, over all attempts"
    RETRIEVAL = Histogram "mlsdm_retrieval_duration_seconds" [] "seconds" "Time spent searching the memory and reading the results"
    OVERHEAD = Histogram "mlsdm_governance_overhead_seconds" ["stage"] "seconds" "Time spent on governance by stage; total is a completed step without the wait for its model"
    REPLAYED = Counter "mlsdm_replay_events_total" [] "" "Events folded to load engines"
    AUDITED = Gauge "mlsdm_audit_verified_position" ["engine"] "" "Last position up to which the latest audit found the log intact"
    UNTRUSTED = Gauge "mlsdm_engine_untrusted" ["engine"] "" "1 while the log of the engine cannot be trusted and the engine refuses all commands; `other` for any engine without series of its own"
    AUDIT_FAILURES = Counter "mlsdm_audit_failures_total" ["engine"] "" "Audits that found the log altered; every round of the background audit counts"
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct BoundLabels {
    #[prometheus(flatten)]
    engine: EngineLabels,
    bound: &'static str,
}

/// The measured stages of a step.
#[derive(Debug)]
pub struct Overhead {
    /// Authenticating the caller.
    pub authn: Histogram,
    /// Embedding the prompt.
    pub embed: Histogram,
    /// Searching the memory and reading the results.
    pub retrieve: Histogram,
    /// Waiting until a command is in the log.
    pub append: Histogram,
    /// A completed step without the wait for its model.
    pub total: Histogram,
}

/// Metrics that all engines share, because a histogram per engine would have too many series.
#[derive(Debug)]
pub struct StepMetrics {
    /// A whole step.
    pub latency: Histogram,
    /// The wait for the model.
    pub generation: Histogram,
    /// The search of the memory.
    pub retrieval: Histogram,
    /// The stages of a step.
    pub overhead: Overhead,
    /// Events folded to load engines.
    pub replayed: Counter,
}

impl Default for StepMetrics {
    fn default() -> Self {
        let seconds = || Histogram::new(SECONDS);
        Self {
            latency: seconds(),
            generation: seconds(),
            retrieval: seconds(),
            overhead: Overhead {
                authn: seconds(),
                embed: seconds(),
                retrieve: seconds(),
                append: seconds(),
                total: seconds(),
            },
            replayed: Counter::default(),
        }
    }
}

impl StepMetrics {
    fn register(&self, registry: &mut Registry) {
        for (spec, histogram) in [(&LATENCY, &self.latency), (&GENERATION, &self.generation)] {
            registry.metric(spec, histogram);
            registry.exemplars(spec, [("", ""); 0], histogram);
        }
        registry.metric(&RETRIEVAL, &self.retrieval);
        registry.metric(&REPLAYED, &self.replayed);
        let Overhead { authn, embed, retrieve, append, total } = &self.overhead;
        let stages = [
            ("authn", authn),
            ("embed", embed),
            ("retrieve", retrieve),
            ("append", append),
            ("total", total),
        ];
        let stages = stages.map(|(stage, histogram)| (StageLabels { stage }, histogram.clone()));
        registry.family(&OVERHEAD, stages);
    }
}

/// Metrics of one engine, or of all engines without series of their own.
#[derive(Debug)]
pub struct EngineMetrics {
    /// Metrics that all engines share.
    pub steps: Arc<StepMetrics>,
    /// Metrics of the events of its log.
    pub events: Arc<EventMetrics>,
    /// Governed requests that reached the engine.
    pub requests: Counter,
    /// Audits that found the log altered.
    pub audit_failures: Counter,
    /// `None` if several engines share the label, because a gauge shows one state.
    gauges: Option<Gauges>,
}

impl EngineMetrics {
    fn of_one_engine(steps: &Arc<StepMetrics>) -> Self {
        Self {
            events: Arc::new(EventMetrics::of_one_engine()),
            gauges: Some(Gauges::default()),
            ..Self::of_several_engines(steps)
        }
    }

    fn of_several_engines(steps: &Arc<StepMetrics>) -> Self {
        Self {
            steps: Arc::clone(steps),
            events: Arc::new(EventMetrics::of_several_engines()),
            requests: Counter::default(),
            audit_failures: Counter::default(),
            gauges: None,
        }
    }

    /// Sets the last position that an audit has verified.
    pub fn audited(&self, position: Position) {
        if let Some(gauges) = &self.gauges {
            gauges.audited.set(position as i64);
        }
    }
}

/// The state of one engine as of the last scrape.
#[derive(Debug, Default)]
struct Gauges {
    memory_used: Gauge,
    memory_bytes: Gauge,
    memory_capacity: Gauge,
    threshold: FloatGauge,
    threshold_min: FloatGauge,
    threshold_max: FloatGauge,
    phase: Gauge,
    shutdown: Gauge,
    queue: Gauge,
    saturation: FloatCounter,
    audited: Gauge,
}

impl Gauges {
    /// Sets the gauges to the state of the engine, `elapsed` after the last time.
    fn update(&self, state: &State, queue_depth: usize, elapsed: Duration) {
        self.memory_used.set(state.lattice.len() as i64);
        self.memory_bytes.set(state.lattice.bytes() as i64);
        self.memory_capacity.set(state.lattice.capacity() as i64);
        self.phase.set(match state.rhythm.phase {
            Phase::Wake => 0,
            Phase::Sleep => 1,
        });
        self.shutdown.set(state.shutdown.is_some().into());
        self.queue.set(queue_depth as i64);
        self.threshold.set(state.threshold(None));
        let moral = &state.policy.moral;
        let [min, max] = MoralFilter::bounds(moral);
        self.threshold_min.set(min);
        self.threshold_max.set(max);
        if state.filter.is_saturated(moral) {
            self.saturation.inc_by(elapsed.as_secs_f64());
        }
    }
}

/// Metrics of all engines of this process, and of the models they call.
#[derive(Debug)]
pub struct Metrics {
    /// Metrics that all engines share.
    pub steps: Arc<StepMetrics>,
    /// Calls of models.
    pub calls: CallMetrics,
    engines: HashMap<EngineId, Arc<EngineMetrics>>,
    /// All engines that `engines` does not list.
    others: Arc<EngineMetrics>,
    /// Engines counted among the others.
    pub overflow: Counter,
    /// Engines that are untrusted, the server's own log included.
    untrusted: HashMap<EngineId, Gauge>,
    other_untrusted: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new([EngineId::default()], &KnownModels::default())
    }
}

impl Metrics {
    /// Metrics with series of their own for these engines and models.
    pub fn new(engines: impl IntoIterator<Item = EngineId>, models: &KnownModels) -> Self {
        let steps = Arc::default();
        let engines: HashMap<EngineId, _> = engines
            .into_iter()
            .map(|id| (id, Arc::new(EngineMetrics::of_one_engine(&steps))))
            .collect();
        let named = engines.keys().cloned().chain([EngineId::system()]);
        Self {
            calls: CallMetrics::new(models),
            untrusted: named.map(|id| (id, Gauge::default())).collect(),
            other_untrusted: Gauge::default(),
            engines,
            others: Arc::new(EngineMetrics::of_several_engines(&steps)),
            overflow: Counter::default(),
            steps,
        }
    }

    /// The metrics of an engine that is being loaded. The server's own log has no steps and no
    /// memory: it is counted among the others, which is not an overflow.
    pub fn load(&self, id: &EngineId) -> Arc<EngineMetrics> {
        if !self.engines.contains_key(id) && !id.is_system() {
            self.overflow.inc();
        }
        Arc::clone(self.of(id))
    }

    /// The metrics of an engine, loaded or not.
    pub fn of(&self, id: &EngineId) -> &Arc<EngineMetrics> {
        self.engines.get(id).unwrap_or(&self.others)
    }

    /// Sets the gauges of a loaded engine to its state, `elapsed` after the last time. The gauges
    /// of an unloaded engine keep their values, because this process does not change its state.
    pub fn update(&self, id: &EngineId, state: &State, queue_depth: usize, elapsed: Duration) {
        if let Some(gauges) = &self.of(id).gauges {
            gauges.update(state, queue_depth, elapsed);
        }
    }

    /// Sets the engines that are untrusted.
    pub fn set_untrusted(&self, untrusted: &[EngineId]) {
        for (id, gauge) in &self.untrusted {
            gauge.set(untrusted.contains(id).into());
        }
        self.other_untrusted
            .set(untrusted.iter().any(|id| !self.untrusted.contains_key(id)).into());
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        self.steps.register(registry);
        self.calls.register(registry);
        let named = self.engines.iter().map(|(id, metrics)| (labels(id.as_str()), metrics));
        let engines: Vec<_> = named.chain([(labels(OTHER), &self.others)]).collect();
        let counter = |registry: &mut Registry, spec, of: fn(&EngineMetrics) -> &Counter| {
            registry
                .family(spec, engines.iter().map(|(labels, m)| (labels.clone(), of(m).clone())));
        };
        counter(registry, &REQUESTS, |metrics| &metrics.requests);
        counter(registry, &AUDIT_FAILURES, |metrics| &metrics.audit_failures);
        let untrusted = self.untrusted.iter().map(|(id, gauge)| (labels(id.as_str()), gauge));
        let untrusted = untrusted.chain([(labels(OTHER), &self.other_untrusted)]);
        registry.family(&UNTRUSTED, untrusted.map(|(labels, gauge)| (labels, gauge.clone())));
        let gauges = engines.iter().filter_map(|(labels, m)| Some((labels, m.gauges.as_ref()?)));
        register_gauges(registry, &gauges.collect::<Vec<_>>());
        let events = engines.iter().map(|(labels, m)| (labels.clone(), Arc::clone(&m.events)));
        EventMetrics::register(registry, &events.collect::<Vec<_>>());
    }
}

fn labels(engine: &str) -> EngineLabels {
    EngineLabels { engine: engine.into() }
}

fn register_gauges(registry: &mut Registry, engines: &[(&EngineLabels, &Gauges)]) {
    let mut gauge = |spec: &Spec, of: fn(&Gauges) -> &Gauge| {
        let series = engines.iter().map(|(labels, g)| ((*labels).clone(), of(g).clone()));
        registry.family(spec, series);
    };
    gauge(&MEMORY_USED, |gauges| &gauges.memory_used);
    gauge(&MEMORY_BYTES, |gauges| &gauges.memory_bytes);
    gauge(&MEMORY_CAPACITY, |gauges| &gauges.memory_capacity);
    gauge(&PHASE, |gauges| &gauges.phase);
    gauge(&SHUTDOWN_ACTIVE, |gauges| &gauges.shutdown);
    gauge(&QUEUE_DEPTH, |gauges| &gauges.queue);
    gauge(&AUDITED, |gauges| &gauges.audited);
    let thresholds = engines.iter().map(|(labels, g)| ((*labels).clone(), g.threshold.clone()));
    registry.family(&THRESHOLD, thresholds);
    let bounds = engines.iter().flat_map(|(labels, gauges)| {
        [("min", &gauges.threshold_min), ("max", &gauges.threshold_max)]
            .map(|(bound, gauge)| (BoundLabels { engine: (*labels).clone(), bound }, gauge.clone()))
    });
    registry.family(&THRESHOLD_BOUND, bounds);
    let saturated = engines.iter().map(|(labels, g)| ((*labels).clone(), g.saturation.clone()));
    registry.family(&SATURATION, saturated);
}

#[cfg(test)]
mod tests;
