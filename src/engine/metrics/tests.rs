#![expect(clippy::float_cmp, reason = "counts are exact")]

use super::*;
use crate::domain::event::{Event, Intervention, Positions, StateAttested};

/// The exposed value of a metric of an engine.
fn value(metrics: &Metrics, name: &str, engine: &str) -> f64 {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let text = registry.text().unwrap();
    let series = format!("{name}{{engine=\"{engine}\"}} ");
    let mut found = text.lines().filter_map(|line| line.strip_prefix(&series));
    found.next().unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
}

#[test]
fn events_are_counted_for_their_engine_only() {
    let metrics = Metrics::default();
    let shutdown = Intervention { actor: "root".to_owned(), reason: "drill".to_owned() };
    let consolidated = [
        Event::MemoryConsolidated(Positions { positions: vec![3, 4] }),
        Event::MemoryConsolidated(Positions { positions: vec![5] }),
    ];
    metrics.load(&EngineId::default()).events.committed(consolidated.iter());
    let evicted = Event::MemoryEvicted(Positions { positions: vec![1, 2, 3] });
    let attested = Event::StateAttested(StateAttested { digest: String::new() });
    let others = [evicted, attested, Event::EngineShutdown(shutdown)];
    metrics.load(&"elsewhere".parse().unwrap()).events.committed(others.iter());
    let of = |name: &str, engine: &str| value(&metrics, name, engine);
    assert_eq!(of("mlsdm_consolidations_total", "default"), 1.0, "one command");
    assert_eq!(of("mlsdm_memory_evictions_total", "default"), 0.0);
    assert_eq!(of("mlsdm_memory_evictions_total", "other"), 3.0);
    assert_eq!(of("mlsdm_emergency_shutdowns_total", "other"), 1.0);
    assert_eq!(metrics.overflow.get(), 1);
}

#[test]
fn a_threshold_that_moves_back_counts_as_a_reversal() {
    let metrics = Metrics::default();
    let engine = metrics.load(&EngineId::default());
    // the first is the starting point, and an unchanged one has no direction
    for threshold in [0.5, 0.6, 0.6, 0.7, 0.65, 0.65, 0.6, 0.8] {
        engine.events.threshold_is(threshold);
    }
    let other = metrics.load(&"elsewhere".parse().unwrap());
    for threshold in [0.5, 0.6, 0.5] {
        other.events.threshold_is(threshold);
    }
    let reversals = |engine| value(&metrics, "mlsdm_moral_threshold_turns_total", engine);
    assert_eq!((reversals("default"), reversals("other")), (2.0, 0.0));
}
