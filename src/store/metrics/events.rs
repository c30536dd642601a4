//! Metrics of the events of one engine's log, counted by the process that commits them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

use crate::{
    domain::event::{Event, MemoryOutcome, MoralVerdict, RejectReason, VerdictSource},
    metrics::{Counter, Family, Histogram, Registry, Spec, specs},
};

specs! {
    STEPS = Counter "mlsdm_steps_total" ["engine"] "" "Moral verdicts, accepted and rejected"
    ACCEPTED = Counter "mlsdm_accepted_total" ["engine"] "" "Steps admitted: they passed the moral filter and the rhythm"
    REJECTED = Counter "mlsdm_rejected_total" ["engine"] "" "Steps rejected by the moral filter or during sleep"
    DECISIONS = Counter "mlsdm_decisions_total" ["engine", "verdict", "reason", "source"] "" "Verdicts by reason and by the source of the deciding score"
    MORAL_SCORE = Histogram "mlsdm_moral_score" ["engine"] "" "Deciding scores, 0 to 1"
    CONSOLIDATIONS = Counter "mlsdm_consolidations_total" ["engine"] "" "Commands that consolidated memories"
    EVICTIONS = Counter "mlsdm_memory_evictions_total" ["engine"] "" "Items evicted from the memory to make room"
    SHUTDOWNS = Counter "mlsdm_emergency_shutdowns_total" ["engine"] "" "Emergency shutdowns recorded"
    TURNS = Counter "mlsdm_moral_threshold_turns_total" ["engine"] "" "Reversals of the direction in which the threshold moves"
}

/// Bounds for moral scores.
pub(crate) const SCORES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// The label set of a metric that exists once per engine.
#[derive(Clone, Debug, PartialEq, Eq, EncodeLabelSet)]
pub struct EngineLabels {
    /// The engine's id, or `other` for all engines without series of their own.
    pub engine: Arc<str>,
}

/// A verdict, its reason and the source of the score that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    /// Why the step was rejected; none if it was admitted.
    rejected: Option<RejectReason>,
    source: VerdictSource,
}

impl Decision {
    fn all() -> impl Iterator<Item = Self> {
        let reasons = [None, Some(RejectReason::Moral), Some(RejectReason::Sleep)];
        let sources = [VerdictSource::Caller, VerdictSource::Scorer];
        reasons
            .into_iter()
            .flat_map(move |rejected| sources.map(|source| Self { rejected, source }))
    }
}

#[derive(Debug)]
struct DecisionLabels {
    engine: EngineLabels,
    decision: Decision,
}

impl EncodeLabelSet for DecisionLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (verdict, reason) = match self.decision.rejected {
            None => ("accepted", "none"),
            Some(RejectReason::Moral) => ("rejected", "moral"),
            Some(RejectReason::Sleep) => ("rejected", "sleep"),
        };
        let source = match self.decision.source {
            VerdictSource::Caller => "caller",
            VerdictSource::Scorer => "scorer",
        };
        self.engine.encode(encoder)?;
        [("verdict", verdict), ("reason", reason), ("source", source)].encode(encoder)
    }
}

/// Metrics of the events of one engine, or of all engines that share the label `other`.
#[derive(Debug)]
pub struct EventMetrics {
    verdicts: Counter,
    accepted: Counter,
    rejected: Counter,
    decisions: Family<Decision, Counter>,
    score: Histogram,
    consolidations: Counter,
    evictions: Counter,
    shutdowns: Counter,
    reversals: Counter,
    /// None for several engines: their thresholds have no common direction.
    trend: Option<ThresholdTrend>,
}

impl EventMetrics {
    /// Metrics of one engine.
    pub fn of_one_engine() -> Self {
        Self { trend: Some(ThresholdTrend::default()), ..Self::of_several_engines() }
    }

    /// Metrics that several engines share.
    pub fn of_several_engines() -> Self {
        Self {
            verdicts: Counter::default(),
            accepted: Counter::default(),
            rejected: Counter::default(),
            decisions: Family::new(Decision::all()),
            score: Histogram::new(SCORES),
            consolidations: Counter::default(),
            evictions: Counter::default(),
            shutdowns: Counter::default(),
            reversals: Counter::default(),
            trend: None,
        }
    }

    /// Registers the metrics of all engines.
    pub fn register(registry: &mut Registry, engines: &[(EngineLabels, Arc<Self>)]) {
        let mut counter = |spec: &Spec, of: fn(&Self) -> &Counter| {
            let series =
                engines.iter().map(|(labels, metrics)| (labels.clone(), of(metrics).clone()));
            registry.family(spec, series);
        };
        counter(&STEPS, |metrics| &metrics.verdicts);
        counter(&ACCEPTED, |metrics| &metrics.accepted);
        counter(&REJECTED, |metrics| &metrics.rejected);
        counter(&CONSOLIDATIONS, |metrics| &metrics.consolidations);
        counter(&EVICTIONS, |metrics| &metrics.evictions);
        counter(&SHUTDOWNS, |metrics| &metrics.shutdowns);
        counter(&TURNS, |metrics| &metrics.reversals);
        let scores =
            engines.iter().map(|(labels, metrics)| (labels.clone(), metrics.score.clone()));
        registry.family(&MORAL_SCORE, scores);
        let decisions = engines.iter().flat_map(|(labels, metrics)| {
            metrics.decisions.iter().cloned().map(|(decision, counter)| {
                (DecisionLabels { engine: labels.clone(), decision }, counter)
            })
        });
        registry.family(&DECISIONS, decisions);
    }

    /// Counts the events of one command that this process has committed.
    pub fn committed<'e>(&self, events: impl Iterator<Item = &'e Event>) {
        let mut consolidated = false;
        for event in events {
            match event {
                Event::StepAdmitted(admitted) => self.decided(None, &admitted.moral),
                Event::StepRejected(rejected) => {
                    self.decided(Some(rejected.reason), &rejected.moral);
                }
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
                | Event::KeyRotated(_)
                | Event::LogFormatRaised(_)
                | Event::Fact(_) => {}
            }
        }
        self.consolidations.inc_by(u64::from(consolidated));
    }

    fn decided(&self, rejected: Option<RejectReason>, moral: &MoralVerdict) {
        self.verdicts.inc();
        if rejected.is_none() { &self.accepted } else { &self.rejected }.inc();
        self.decisions.inc(&Decision { rejected, source: moral.source });
        self.score.observe(moral.value);
    }

    /// Counts a reversal if the threshold after a batch moved against its last direction.
    pub fn threshold_is(&self, threshold: f64) {
        if self.trend.as_ref().is_some_and(|trend| trend.reversed(threshold)) {
            self.reversals.inc();
        }
    }
}

/// The last threshold and its last change, as the bits of floating-point numbers. Only the engine's
/// writer changes it.
#[derive(Debug, Default)]
struct ThresholdTrend {
    last: AtomicU64,
    change: AtomicU64,
}

impl ThresholdTrend {
    /// Stores the threshold; returns true if it moved against its last direction.
    fn reversed(&self, threshold: f64) -> bool {
        let load = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        let (last, before) = (load(&self.last), load(&self.change));
        self.last.store(threshold.to_bits(), Ordering::Relaxed);
        // a threshold is never 0, so 0 means that there was none; an unchanged one has no direction
        let change = if last > 0.0 { threshold - last } else { 0.0 };
        if change == 0.0 {
            return false;
        }
        self.change.store(change.to_bits(), Ordering::Relaxed);
        change * before < 0.0
    }
}
