//! What engines do: verdicts, memories, appends. Moved by the process that committed the event.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::{
    Histogram, OTHER,
    contract::{self, Spec},
    histogram::{EVENTS, SCORES, SECONDS},
    register::{Amount, Labels, Real, Register, histogram},
};
use crate::domain::{
    event::{Event, MemoryOutcome, MoralVerdict, RejectReason, VerdictSource},
    ids::Position,
};

/// Parts of a step whose time is measured, as the label `stage`.
#[derive(Clone, Debug)]
pub struct Overhead {
    /// Finding out who asks.
    pub authn: Histogram,
    /// Making the prompt a vector.
    pub embed: Histogram,
    /// Searching the memory and reading what was found.
    pub retrieve: Histogram,
    /// Waiting until a command is in the log.
    pub append: Histogram,
    /// A completed step without its wait for the model.
    pub total: Histogram,
}

/// What is not told by engine: there are too many buckets.
#[derive(Debug)]
pub struct Steps {
    /// A whole step.
    pub latency: Histogram,
    /// The wait for the model.
    pub generation: Histogram,
    /// Searching the memory.
    pub retrieval: Histogram,
    /// What governing costs.
    pub overhead: Overhead,
    /// A batch, from asking for the engine's row to its commit.
    pub append: Histogram,
    /// Events of a batch.
    pub batch: Histogram,
    /// Batches that the database undid.
    pub conflicts: Counter,
    /// Events folded to load engines.
    pub replayed: Counter,
    /// By the places of [`Event::KINDS`].
    appended: Vec<Counter>,
}

impl Steps {
    pub(super) fn new(register: &Register) -> Self {
        let seconds = |spec: &Spec| register.one(spec, Histogram::new(SECONDS));
        let traced = |spec: &Spec| {
            let histogram = seconds(spec);
            register.traced(spec, &[(Vec::new(), histogram.clone())]);
            histogram
        };
        let stages = ["authn", "embed", "retrieve", "append", "total"];
        let stages = register.by(&contract::OVERHEAD, &stages, histogram(SECONDS));
        let stage = |place: usize| stages.get(place).cloned().unwrap_or_else(histogram(SECONDS));
        Self {
            latency: traced(&contract::LATENCY),
            generation: traced(&contract::GENERATION),
            retrieval: seconds(&contract::RETRIEVAL),
            overhead: Overhead {
                authn: stage(0),
                embed: stage(1),
                retrieve: stage(2),
                append: stage(3),
                total: stage(4),
            },
            append: seconds(&contract::APPEND_DURATION),
            batch: register.one(&contract::APPEND_BATCH, Histogram::new(EVENTS)),
            conflicts: register.one(&contract::APPEND_CONFLICTS, Counter::default()),
            replayed: register.one(&contract::REPLAYED, Counter::default()),
            appended: register.by(&contract::APPENDED, &Event::KINDS, Counter::default),
        }
    }

    /// Counts an event that this process has committed, by its wire name.
    pub fn appended(&self, kind: &str) {
        let place = Event::KINDS.iter().position(|known| *known == kind);
        if let Some(counter) = place.and_then(|place| self.appended.get(place)) {
            counter.inc();
        }
    }
}

/// The numbers of one engine, or of all that no list names.
#[derive(Debug)]
pub struct EngineMetrics {
    /// What engines have in common.
    pub steps: Arc<Steps>,
    /// Governed requests that reached the engine.
    pub requests: Counter,
    verdicts: Counter,
    accepted: Counter,
    rejected: Counter,
    /// Accepted, refused morally, refused in sleep; each by the caller's score and the scorer's.
    decisions: [[Counter; 2]; 3],
    score: Histogram,
    consolidations: Counter,
    evictions: Counter,
    shutdowns: Counter,
    /// Audits that found the log edited.
    pub audit_failures: Counter,
    turns: Counter,
    course: Course,
    /// What a scrape looks up; none where several engines share a label.
    pub gauges: Option<Gauges>,
}

/// The state of one engine, as the last scrape found it.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Items remembered.
    pub memory_used: Gauge,
    /// Resident bytes of them.
    pub memory_bytes: Gauge,
    /// Items there is room for.
    pub memory_capacity: Gauge,
    /// The threshold.
    pub threshold: Real,
    /// The lowest and the highest that the policy allows.
    pub threshold_bounds: [Real; 2],
    /// 0 awake, 1 asleep.
    pub phase: Gauge,
    /// Whether it is shut down.
    pub shutdown: Gauge,
    /// Commands that wait.
    pub queue: Gauge,
    /// Seconds with the threshold at a bound.
    pub saturation: Amount,
    /// The last position of the newest audit.
    audited: Gauge,
}

/// Where the threshold was, and which way it went: bits of numbers. Only the engine's writer moves it.
#[derive(Debug, Default)]
struct Course {
    last: AtomicU64,
    step: AtomicU64,
}

impl Course {
    /// Whether it turned round in getting here.
    fn turned(&self, threshold: f64) -> bool {
        let load = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        let (last, before) = (load(&self.last), load(&self.step));
        self.last.store(threshold.to_bits(), Ordering::Relaxed);
        // no threshold is 0 before it was seen first, and standing still is no direction
        let step = if last > 0.0 { threshold - last } else { 0.0 };
        if step == 0.0 {
            return false;
        }
        self.step.store(step.to_bits(), Ordering::Relaxed);
        step * before < 0.0
    }
}

/// Names of [`Gauges::threshold_bounds`].
const BOUNDS: [&str; 2] = ["min", "max"];

/// A verdict and its reason, in the order of [`EngineMetrics::decisions`].
const DECISIONS: [(&str, &str); 3] =
    [("accepted", "none"), ("rejected", "moral"), ("rejected", "sleep")];

/// Whose score decided, in the same order.
const SOURCES: [&str; 2] = ["caller", "scorer"];

impl EngineMetrics {
    fn new(steps: Arc<Steps>, gauges: bool) -> Self {
        Self {
            steps,
            requests: Counter::default(),
            verdicts: Counter::default(),
            accepted: Counter::default(),
            rejected: Counter::default(),
            decisions: Default::default(),
            score: Histogram::new(SCORES),
            consolidations: Counter::default(),
            evictions: Counter::default(),
            shutdowns: Counter::default(),
            audit_failures: Counter::default(),
            turns: Counter::default(),
            course: Course::default(),
            gauges: gauges.then(Gauges::default),
        }
    }

    /// For a program that counts and does not serve.
    pub(super) fn unnamed(steps: &Arc<Steps>) -> Self {
        Self::new(Arc::clone(steps), false)
    }

    /// An audit has found the log as it was written up to here.
    pub fn audited(&self, position: Position) {
        if let Some(gauges) = &self.gauges {
            gauges.audited.set(position as i64);
        }
    }

    /// Counts the events of one command that this process has committed.
    pub fn committed<'e>(&self, events: impl Iterator<Item = &'e Event>) {
        let mut consolidated = false;
        for event in events {
            self.steps.appended(event.kind());
            match event {
                Event::StepAdmitted(admitted) => self.decided(0, &admitted.moral),
                Event::StepRejected(rejected) => match rejected.reason {
                    RejectReason::Moral => self.decided(1, &rejected.moral),
                    RejectReason::Sleep => self.decided(2, &rejected.moral),
                },
                Event::StepCompleted(completed) => {
                    if let MemoryOutcome::Stored { victim: Some(_), .. } = completed.memory {
                        self.evictions.inc();
                    }
                }
                Event::MemoryAdded(added) => {
                    self.evictions.inc_by(u64::from(added.victim.is_some()));
                }
                Event::MemoryEvicted(evicted) => {
                    self.evictions.inc_by(evicted.positions.len() as u64);
                }
                Event::MemoryConsolidated(_) => consolidated = true,
                Event::EngineShutdown(_) => {
                    self.shutdowns.inc();
                }
                Event::StepFailed(_)
                | Event::EngineCreated(_)
                | Event::PolicyChanged(_)
                | Event::EngineResumed(_)
                | Event::SubjectErased(_)
                | Event::StateAttested(_)
                | Event::KeyCreated(_)
                | Event::KeyRevoked(_)
                | Event::KeyRotated(_) => {}
            }
        }
        self.consolidations.inc_by(u64::from(consolidated));
    }

    /// Says where the threshold is after a batch. Engines that share a label share no course.
    pub fn threshold_is(&self, threshold: f64) {
        if self.gauges.is_some() && self.course.turned(threshold) {
            self.turns.inc();
        }
    }

    fn decided(&self, decision: usize, moral: &MoralVerdict) {
        self.verdicts.inc();
        if decision == 0 { &self.accepted } else { &self.rejected }.inc();
        let source = match moral.source {
            VerdictSource::Caller => 0,
            VerdictSource::Scorer => 1,
        };
        if let Some(counter) = self.decisions.get(decision).and_then(|by| by.get(source)) {
            counter.inc();
        }
        self.score.observe(moral.value);
    }
}

/// Registers the numbers of these engines and of all others, who come last.
pub(super) fn register(
    register: &Register,
    steps: &Arc<Steps>,
    names: &[String],
) -> Vec<Arc<EngineMetrics>> {
    let labels = names.iter().map(|name| (name.as_str(), true)).chain([(OTHER, false)]);
    let engines: Vec<(&str, Arc<EngineMetrics>)> = labels
        .map(|(name, own)| (name, Arc::new(EngineMetrics::new(Arc::clone(steps), own))))
        .collect();
    let counter = |spec: &Spec, of: fn(&EngineMetrics) -> &Counter| {
        let series = engines.iter().map(|(name, engine)| (label(name), of(engine).clone()));
        register.series(spec, series.collect());
    };
    counter(&contract::REQUESTS, |engine| &engine.requests);
    counter(&contract::STEPS, |engine| &engine.verdicts);
    counter(&contract::ACCEPTED, |engine| &engine.accepted);
    counter(&contract::REJECTED, |engine| &engine.rejected);
    counter(&contract::CONSOLIDATIONS, |engine| &engine.consolidations);
    counter(&contract::EVICTIONS, |engine| &engine.evictions);
    counter(&contract::SHUTDOWNS, |engine| &engine.shutdowns);
    counter(&contract::AUDIT_FAILURES, |engine| &engine.audit_failures);
    counter(&contract::TURNS, |engine| &engine.turns);
    let scores = engines.iter().map(|(name, engine)| (label(name), engine.score.clone()));
    register.series(&contract::MORAL_SCORE, scores.collect());
    register.series(&contract::DECISIONS, engines.iter().flat_map(decisions).collect());
    register_gauges(register, &engines);
    engines.into_iter().map(|(_, engine)| engine).collect()
}

fn decisions((name, engine): &(&str, Arc<EngineMetrics>)) -> Vec<(Labels, Counter)> {
    let mut series = Vec::new();
    for ((verdict, reason), by_source) in DECISIONS.iter().zip(&engine.decisions) {
        for (source, counter) in SOURCES.iter().zip(by_source) {
            let mut labels = label(name);
            for (name, value) in [("verdict", verdict), ("reason", reason), ("source", source)] {
                labels.push((name, (*value).to_owned()));
            }
            series.push((labels, counter.clone()));
        }
    }
    series
}

fn register_gauges(register: &Register, engines: &[(&str, Arc<EngineMetrics>)]) {
    let named: Vec<(&str, &Gauges)> = engines
        .iter()
        .filter_map(|(name, engine)| Some((*name, engine.gauges.as_ref()?)))
        .collect();
    let gauge = |spec: &Spec, of: fn(&Gauges) -> &Gauge| {
        let series = named.iter().map(|(name, gauges)| (label(name), of(gauges).clone()));
        register.series(spec, series.collect());
    };
    gauge(&contract::MEMORY_USED, |gauges| &gauges.memory_used);
    gauge(&contract::MEMORY_BYTES, |gauges| &gauges.memory_bytes);
    gauge(&contract::MEMORY_CAPACITY, |gauges| &gauges.memory_capacity);
    gauge(&contract::PHASE, |gauges| &gauges.phase);
    gauge(&contract::SHUTDOWN_ACTIVE, |gauges| &gauges.shutdown);
    gauge(&contract::QUEUE_DEPTH, |gauges| &gauges.queue);
    gauge(&contract::AUDITED, |gauges| &gauges.audited);
    let thresholds = named.iter().map(|(name, gauges)| (label(name), gauges.threshold.clone()));
    register.series::<Gauge<f64, AtomicU64>>(&contract::THRESHOLD, thresholds.collect());
    let bounds = named.iter().flat_map(|(name, gauges)| {
        let bound = |(bound, gauge): (&str, &Real)| {
            let labels = [label(name), vec![("bound", bound.to_owned())]].concat();
            (labels, gauge.clone())
        };
        BOUNDS.into_iter().zip(&gauges.threshold_bounds).map(bound).collect::<Vec<_>>()
    });
    register.series::<Gauge<f64, AtomicU64>>(&contract::THRESHOLD_BOUND, bounds.collect());
    let saturated = named.iter().map(|(name, gauges)| (label(name), gauges.saturation.clone()));
    register.series::<Counter<f64, AtomicU64>>(&contract::SATURATION, saturated.collect());
}

fn label(engine: &str) -> Labels {
    vec![("engine", engine.to_owned())]
}
