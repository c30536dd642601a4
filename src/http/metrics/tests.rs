#![expect(clippy::float_cmp, reason = "counts are exact, and so are sums of few digits")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix_web::test::{TestRequest, call_service, init_service};
use tokio::runtime::Handle;

use super::{
    contract::{ALL, Kind, json},
    *,
};
use crate::{
    auth::{Reason, metrics::Scheme},
    domain::{event::Usage, ids::EngineId},
    engine,
    http::{AppState, create_app},
    llm::{self, metrics::Call},
    metrics::{Registry, SECONDS},
    store,
    testkit::{TestDatabase, app_state, guarded_app_state},
};

/// Ten models: the size of a server for which the number of series is bounded.
const MODELS: &str = "a,b,c,d,e,f,g,h,i,j";

/// Most series of a server with these models.
const SERIES_MAX: usize = 2_400;

/// The value of a series, given as it is exposed.
fn value(text: &str, series: &str) -> f64 {
    let mut found = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = found.next().unwrap_or_else(|| panic!("{series} is not in\n{text}"));
    value.parse().unwrap()
}

#[test]
fn the_exported_list_is_up_to_date() {
    let exported = include_str!("../../../alerts/metrics.json");
    let advice = "run `mlsdm telemetry metrics > alerts/metrics.json`";
    assert!(exported == json().unwrap(), "{advice}");
}

#[test]
fn the_bounds_of_histograms_include_one_half_and_no_integer() {
    for bounds in [
        SECONDS,
        requests::REQUEST_SECONDS,
        llm::metrics::CALL_SECONDS,
        llm::metrics::TOKENS,
        store::metrics::BATCH_EVENTS,
        store::metrics::events::SCORES,
    ] {
        assert!(bounds.is_sorted());
        assert!(bounds.contains(&0.5), "{bounds:?}");
        assert!(bounds.iter().all(|bound| bound.fract() > 0.0), "{bounds:?}");
    }
}

const fn call<'a>(provider: &'a str, model: &'a str) -> Call<'a> {
    Call {
        provider,
        model: Some(model),
        ms: 20.0,
        first_piece_ms: Some(10.0),
        usage: Some(Usage::new(3, 4)),
        cost_micro_usd: 2_000_000,
    }
}

#[test]
fn values_invented_by_callers_add_no_series() {
    let route = Route {
        pattern: "/v1/{id:.*}".to_owned(),
        template: "/v1/{id}".to_owned(),
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
    };
    let http = HttpMetrics::new(&[route], "stable");
    let models = [("openai", ["gpt".to_owned()].into())].into();
    let engines = engine::Metrics::new([EngineId::default()], &models);
    let mut registry = Registry::default();
    http.register(&mut registry);
    engines.register(&mut registry);
    let attack = |n: u32| {
        let (path, model) = (format!("/{n}"), format!("model-{n}"));
        let (method, status) = (format!("M{n}"), 700 + (n % 3) as u16);
        http.answered(Some(&path), &method, 404, Duration::ZERO);
        http.answered(Some("/v1/{id:.*}"), &method, status, Duration::ZERO);
        engines.calls.count(&call("openai", &model));
        engines.calls.count(&call("their-own", &model));
        engines.load(&format!("engine-{n}").parse().unwrap());
        http.auth.refused(Scheme::Other, Reason::Expired);
    };
    // an odd method or status is shown once it has occurred; after that there is nothing new
    attack(0);
    let series_count = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let before = series_count(&registry.text().unwrap());
    (1..10_000).for_each(attack);
    engines.calls.count(&call("openai", "gpt"));
    let text = registry.text().unwrap();
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

fn exporter(state: &AppState) -> Exporter {
    Exporter::new(state.engines.clone(), &state.metrics, state.policy.clone(), Handle::current())
}

/// The samples by series, and the types by name.
struct Scrape {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Scrape {
    fn of(exporter: &Exporter) -> Self {
        let text = exporter.scrape().unwrap();
        assert!(text.ends_with("# EOF\n"));
        let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap();
                assert!(samples.insert(series.to_owned(), value).is_none(), "{series} twice");
            }
        }
        Self { samples, types }
    }

    fn get(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("{series}: {:#?}", self.samples.keys()))
    }

    /// The samples of a metric, whose series of a histogram have suffixes.
    fn samples_of(&self, spec: &contract::Spec) -> BTreeMap<&str, f64> {
        let suffixes: &[&str] = match spec.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Counter | Kind::Gauge | Kind::Info => &[""],
        };
        let name = |series: &str| series.split('{').next().unwrap_or_default().to_owned();
        let own =
            |series: &str| suffixes.iter().any(|s| name(series) == format!("{}{s}", spec.name));
        self.samples.iter().filter(|(s, _)| own(s)).map(|(s, v)| (s.as_str(), *v)).collect()
    }
}

async fn state(env: &[(&str, &str)]) -> (AppState, TestDatabase) {
    app_state(env).await
}

#[actix_web::test]
async fn a_new_server_shows_every_listed_metric_at_zero_and_no_other() {
    let (state, _database) = state(&[("LLM_BACKEND", "local_stub")]).await;
    let scrape = Scrape::of(&exporter(&state));
    let mut seen = BTreeSet::new();
    for spec in ALL.iter() {
        let samples = scrape.samples_of(spec);
        assert!(!samples.is_empty(), "{} has no sample", spec.name);
        for series in samples.keys() {
            seen.insert((*series).to_owned());
            assert_eq!(labels(series), spec.labels, "{series}");
        }
        // the default engine was created and loaded, lines were logged, and a process is never at 0
        let counting = [
            "process_",
            "mlsdm_log_",
            "mlsdm_runtime_",
            "db_client_",
            "mlsdm_replay_",
            "mlsdm_events_appended_",
        ];
        let is_zero = matches!(spec.kind, Kind::Counter | Kind::Histogram)
            && !counting.iter().any(|prefix| spec.name.starts_with(prefix));
        for (series, value) in samples.into_iter().filter(|_| is_zero) {
            let saturated = spec.name.contains("saturation");
            assert!(value == 0.0 || saturated, "{series} is {value}");
        }
    }
    let unlisted: Vec<_> = scrape.samples.keys().filter(|series| !seen.contains(*series)).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
    assert_eq!(scrape.types.len(), ALL.len());
    assert_eq!(scrape.get("mlsdm_moral_threshold{engine=\"default\"}"), 0.5);
    assert_eq!(scrape.get("mlsdm_memory_capacity{engine=\"default\"}"), 20_000.0);
    let failed = "{track=\"stable\",method=\"POST\",route=\"/v1/generate\",status=\"500\"}";
    assert_eq!(
        scrape.get(&format!("http_requests_total{failed}")),
        0.0,
        "an error ratio is 0, not empty"
    );
}

/// The names of a series' labels, without `le`.
fn labels(series: &str) -> Vec<&str> {
    let inside = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    let names = inside.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0));
    names.filter(|name| *name != "le").collect()
}

#[actix_web::test]
async fn a_server_with_ten_models_stays_within_the_bound_of_series() {
    let (state, _database) = state(&[
        ("LLM_BACKEND", "openai"),
        ("OPENAI_API_KEY", "k"),
        ("MLSDM__LLM__MODEL", "a"),
        ("MLSDM__LLM__MODELS", MODELS),
    ])
    .await;
    let count = Scrape::of(&exporter(&state)).samples.len();
    assert!((500..SERIES_MAX).contains(&count), "{count}");
}

#[actix_web::test]
async fn requests_count_for_their_route_and_unknown_paths_add_no_series() {
    let (state, _database) = state(&[("MLSDM_TRACK", "canary")]).await;
    let exporter = exporter(&state);
    let state = web::Data::new(state);
    let app = init_service(create_app(state)).await;
    let get = |path: String| TestRequest::get().uri(&path).to_request();
    assert_eq!(call_service(&app, get("/v1/state?x=1".to_owned())).await.status(), 400);
    assert_eq!(call_service(&app, get("/v1/state".to_owned())).await.status(), 200);
    assert_eq!(call_service(&app, get("/nowhere".to_owned())).await.status(), 404);
    let before = Scrape::of(&exporter);
    let count = |scrape: &Scrape, route: &str, status: u16| {
        scrape.get(&format!(
            "http_requests_total{{track=\"canary\",method=\"GET\",route=\"{route}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(count(&before, "/v1/state", 200), 1.0);
    assert_eq!(count(&before, "/v1/state", 400), 1.0);
    for n in 0..10_000 {
        call_service(&app, get(format!("/nowhere/{n}"))).await;
    }
    let after = Scrape::of(&exporter);
    assert_eq!(count(&after, "unmatched", 404), 10_001.0);
    let names = |scrape: &Scrape| scrape.samples.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&after), names(&before));
}

#[actix_web::test]
async fn refused_callers_are_counted_by_reason() {
    let env = [
        ("MLSDM__AUTH__MODE", "keys"),
        ("API_KEY", "a-key-of-sixteen-or-more-letters"),
        ("RATE_LIMIT_REQUESTS", "1000"),
    ];
    let clock = Arc::new(crate::clock::now_micros);
    let (state, _database) = guarded_app_state(&env, clock).await;
    let (exporter, engines) = (exporter(&state), state.engines.clone());
    let app = init_service(create_app(web::Data::new(state))).await;
    let ask = |path: &str, key: &str| {
        TestRequest::get().uri(path).insert_header(("X-API-Key", key)).to_request()
    };
    assert_eq!(call_service(&app, ask("/v1/state", "geheim-and-wrong")).await.status(), 401);
    let key = "a-key-of-sixteen-or-more-letters";
    assert_eq!(call_service(&app, ask("/v1/events", key)).await.status(), 403);
    assert_eq!(call_service(&app, ask("/v1/state", key)).await.status(), 200);
    engines.parts().metrics.load(&"elsewhere".parse().unwrap());
    let text = exporter.scrape().unwrap();
    assert!(!text.contains("geheim"));
    let overflow = "mlsdm_label_overflow_total{metric=\"mlsdm_steps_total\"}";
    assert_eq!(value(&text, overflow), 1.0);
    let scrape = Scrape::of(&exporter);
    let failed = "{scheme=\"api_key\",reason=\"unknown_api_key\"}";
    assert_eq!(scrape.get(&format!("mlsdm_auth_failures_total{failed}")), 1.0);
    assert_eq!(scrape.get("mlsdm_permission_denied_total{permission=\"audit:read\"}"), 1.0);
    assert_eq!(scrape.get("mlsdm_governance_overhead_seconds_count{stage=\"authn\"}"), 3.0);
}
