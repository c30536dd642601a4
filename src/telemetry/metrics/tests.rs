#![expect(clippy::float_cmp, reason = "counts are exact, and so are sums of few digits")]

use std::time::Duration;

use super::{histogram::*, register::histogram, *};
use crate::domain::event::{Event, Intervention, Positions, StateAttested, Usage};

/// The value of a series, written as it is exposed.
fn value(text: &str, series: &str) -> f64 {
    let mut found = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = found.next().unwrap_or_else(|| panic!("{series} is not in\n{text}"));
    value.parse().unwrap()
}

fn series_count(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn the_exported_list_is_that_of_the_code() {
    let exported = include_str!("../../../alerts/metrics.json");
    let advice = "run `mlsdm telemetry metrics > alerts/metrics.json`";
    assert!(exported == contract::json().unwrap(), "{advice}");
}

#[test]
fn histograms_have_a_bound_of_one_half_and_none_that_is_an_integer() {
    for bounds in [SECONDS, REQUEST_SECONDS, MODEL_SECONDS, TOKENS, EVENTS, SCORES] {
        assert!(bounds.is_sorted());
        assert!(bounds.contains(&0.5), "{bounds:?}");
        assert!(bounds.iter().all(|bound| bound.fract() > 0.0), "{bounds:?}");
    }
}

#[test]
fn a_histogram_counts_up_to_and_including_its_bounds() {
    let register = Register::default();
    let all = register.by(&contract::OVERHEAD, &["embed"], histogram(SCORES));
    for value in [0.1, 0.100_1, 0.5, 7.0, -1.0] {
        all[0].observe(value);
    }
    let text = register.text().unwrap();
    let bucket = |le: &str| {
        let labels = format!("{{le=\"{le}\",stage=\"embed\"}}");
        value(&text, &format!("mlsdm_governance_overhead_seconds_bucket{labels}"))
    };
    let counts = ["0.1", "0.2", "0.4", "0.5", "0.9", "+Inf"].map(bucket);
    assert_eq!(counts, [2.0, 3.0, 3.0, 4.0, 4.0, 5.0]);
    let name = "mlsdm_governance_overhead_seconds";
    assert_eq!(value(&text, &format!("{name}_count{{stage=\"embed\"}}")), 5.0);
    assert_eq!(value(&text, &format!("{name}_sum{{stage=\"embed\"}}")), 7.700_1);
}

#[test]
fn observations_of_many_threads_are_all_counted() {
    let histogram = Histogram::new(SECONDS);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|_| histogram.observe(0.25)));
        }
    });
    let register = Register::default();
    register.one(&contract::LATENCY, histogram);
    let text = register.text().unwrap();
    assert_eq!(value(&text, "mlsdm_latency_seconds_count"), 40_000.0);
    assert_eq!(value(&text, "mlsdm_latency_seconds_sum"), 10_000.0);
}

#[test]
fn events_move_the_counters_of_their_engine_only() {
    let metrics = Metrics::default();
    let act = || Intervention { actor: "root".to_owned(), reason: "drill".to_owned() };
    let moved = [
        Event::MemoryConsolidated(Positions { positions: vec![3, 4] }),
        Event::MemoryConsolidated(Positions { positions: vec![5] }),
    ];
    metrics.engine(&EngineId::default()).committed(moved.iter());
    let other: EngineId = "elsewhere".parse().unwrap();
    let evicted = Event::MemoryEvicted(Positions { positions: vec![1, 2, 3] });
    let attested = Event::StateAttested(StateAttested { digest: String::new() });
    metrics.engine(&other).committed([evicted, attested, Event::EngineShutdown(act())].iter());
    let text = metrics.register.text().unwrap();
    let of = |name: &str, engine: &str| value(&text, &format!("{name}{{engine=\"{engine}\"}}"));
    assert_eq!(of("mlsdm_consolidations_total", "default"), 1.0, "one command");
    assert_eq!(of("mlsdm_memory_evictions_total", "default"), 0.0);
    assert_eq!(of("mlsdm_memory_evictions_total", "other"), 3.0);
    assert_eq!(of("mlsdm_emergency_shutdowns_total", "other"), 1.0);
    let appended = |kind| value(&text, &format!("mlsdm_events_appended_total{{type=\"{kind}\"}}"));
    assert_eq!(appended("memory.consolidated"), 2.0);
    assert_eq!(appended("state.attested"), 1.0);
    assert_eq!(value(&text, "mlsdm_label_overflow_total{metric=\"mlsdm_steps_total\"}"), 1.0);
}

#[test]
fn a_threshold_that_goes_back_has_turned() {
    let metrics = Metrics::default();
    let engine = metrics.engine(&EngineId::default());
    // the first is where it was found; standing still is no direction
    for threshold in [0.5, 0.6, 0.6, 0.7, 0.65, 0.65, 0.6, 0.8] {
        engine.threshold_is(threshold);
    }
    let other = metrics.engine(&"elsewhere".parse().unwrap());
    for threshold in [0.5, 0.6, 0.5] {
        other.threshold_is(threshold);
    }
    let text = metrics.register.text().unwrap();
    let turns =
        |engine| value(&text, &format!("mlsdm_moral_threshold_turns_total{{engine=\"{engine}\"}}"));
    assert_eq!((turns("default"), turns("other")), (2.0, 0.0));
}

const fn call<'a>(provider: &'a str, model: &'a str) -> Call<'a> {
    Call {
        provider,
        model: Some(model),
        ms: 20.0,
        first_piece_ms: Some(10.0),
        usage: Some(Usage { prompt_tokens: 3, completion_tokens: 4 }),
        cost_micro_usd: 2_000_000,
    }
}

#[test]
fn what_callers_invent_makes_no_series() {
    let route = Route {
        pattern: "/v1/{id:.*}".to_owned(),
        template: "/v1/{id}".to_owned(),
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
    };
    let models = [("openai", ["gpt".to_owned()].into())].into();
    let metrics = Metrics::new(&Scope { routes: vec![route], models, ..Scope::default() });
    let attack = |n: u32| {
        let (made_up, model) = (format!("/{n}"), format!("model-{n}"));
        metrics.http.answered(Some(&made_up), &format!("M{n}"), 404, Duration::ZERO);
        metrics.http.answered(
            Some("/v1/{id:.*}"),
            &format!("M{n}"),
            700 + (n % 3) as u16,
            Duration::ZERO,
        );
        metrics.models.called(&call("openai", &model));
        metrics.models.called(&call("their-own", &model));
        metrics.engine(&format!("engine-{n}").parse().unwrap());
        metrics.refused(&made_up, Reason::Expired);
    };
    // an odd method or status shows once it has happened; after that nothing is new
    attack(0);
    let before = series_count(&metrics.register.text().unwrap());
    (1..10_000).for_each(attack);
    metrics.models.called(&call("openai", "gpt"));
    let text = metrics.register.text().unwrap();
    assert_eq!(series_count(&text), before);
    let unmatched = "{track=\"stable\",method=\"_OTHER\",route=\"unmatched\",status=\"404\"}";
    assert_eq!(value(&text, &format!("http_requests_total{unmatched}")), 10_000.0);
    let odd = "{track=\"stable\",method=\"_OTHER\",route=\"/v1/{id}\",status=\"other\"}";
    assert_eq!(value(&text, &format!("http_requests_total{odd}")), 10_000.0);
    let cost = |model| {
        let labels = format!("{{provider=\"openai\",model=\"{model}\"}}");
        value(&text, &format!("mlsdm_llm_cost_usd_total{labels}"))
    };
    assert_eq!((cost("gpt"), cost("other")), (2.0, 20_000.0));
    let expired = "{scheme=\"other\",reason=\"expired\"}";
    assert_eq!(value(&text, &format!("mlsdm_auth_failures_total{expired}")), 10_000.0);
}
