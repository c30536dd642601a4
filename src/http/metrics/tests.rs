#![expect(clippy::float_cmp, reason = "counts are exact, and so are sums of few digits")]

use std::collections::{BTreeMap, BTreeSet};

use actix_web::test::{TestRequest, call_service, init_service};

use super::*;
use crate::{
    http::{AppState, create_app},
    telemetry::metrics::contract::{ALL, Kind},
    testkit::{TestDatabase, app_state, guarded_app_state},
};

/// Ten models, and the routes there are: what the budget of series is for.
const MODELS: &str = "a,b,c,d,e,f,g,h,i,j";

/// Most series at that.
const SERIES_MAX: usize = 2_000;

fn exporter(state: &AppState) -> Exporter {
    Exporter::new(state.engines.clone(), state.policy.clone(), Handle::current())
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

    /// The samples of a metric, with what it adds to its name.
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
async fn a_fresh_server_shows_every_name_of_the_contract_and_no_other_at_zero() {
    let (state, _database) = state(&[("LLM_BACKEND", "local_stub")]).await;
    let scrape = Scrape::of(&exporter(&state));
    let mut seen = BTreeSet::new();
    for spec in ALL {
        let samples = scrape.samples_of(spec);
        assert!(!samples.is_empty(), "{} shows nothing", spec.name);
        for series in samples.keys() {
            seen.insert((*series).to_owned());
            assert_eq!(labels(series), spec.labels, "{series}");
        }
        // the default engine was made and loaded, lines were logged, and a process is never at 0
        let lives = [
            "process_",
            "mlsdm_log_",
            "mlsdm_runtime_",
            "db_client_",
            "mlsdm_replay_",
            "mlsdm_events_appended_",
        ];
        let rests = matches!(spec.kind, Kind::Counter | Kind::Histogram)
            && !lives.iter().any(|prefix| spec.name.starts_with(prefix));
        for (series, value) in samples.into_iter().filter(|_| rests) {
            let saturated = spec.name.contains("saturation");
            assert!(value == 0.0 || saturated, "{series} is {value}");
        }
    }
    let strangers: Vec<_> =
        scrape.samples.keys().filter(|series| !seen.contains(*series)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    assert_eq!(scrape.types.len(), ALL.len());
    assert_eq!(scrape.get("mlsdm_moral_threshold{engine=\"default\"}"), 0.5);
    assert_eq!(scrape.get("mlsdm_memory_capacity{engine=\"default\"}"), 20_000.0);
    let ok = "{track=\"stable\",method=\"POST\",route=\"/v1/generate\",status=\"500\"}";
    assert_eq!(
        scrape.get(&format!("http_requests_total{ok}")),
        0.0,
        "an error ratio is 0, not empty"
    );
}

/// The names of a series' labels, without that of buckets.
fn labels(series: &str) -> Vec<&str> {
    let inside = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    let names = inside.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0));
    names.filter(|name| *name != "le").collect()
}

#[actix_web::test]
async fn the_budget_of_series_holds_at_ten_models() {
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
async fn requests_move_their_route_and_strangers_make_no_series() {
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
async fn refusals_of_callers_are_counted_by_cause() {
    let env = [
        ("MLSDM__AUTH__MODE", "keys"),
        ("API_KEY", "a-key-of-sixteen-or-more-letters"),
        ("RATE_LIMIT_REQUESTS", "1000"),
    ];
    let clock = Arc::new(crate::clock::now_micros);
    let (state, _database) = guarded_app_state(&env, clock).await;
    let exporter = exporter(&state);
    let app = init_service(create_app(web::Data::new(state))).await;
    let ask = |path: &str, key: &str| {
        TestRequest::get().uri(path).insert_header(("X-API-Key", key)).to_request()
    };
    assert_eq!(call_service(&app, ask("/v1/state", "geheim-and-wrong")).await.status(), 401);
    let key = "a-key-of-sixteen-or-more-letters";
    assert_eq!(call_service(&app, ask("/v1/events", key)).await.status(), 403);
    assert_eq!(call_service(&app, ask("/v1/state", key)).await.status(), 200);
    let text = exporter.scrape().unwrap();
    assert!(!text.contains("geheim"));
    let scrape = Scrape::of(&exporter);
    let failed = "{scheme=\"api_key\",reason=\"unknown_api_key\"}";
    assert_eq!(scrape.get(&format!("mlsdm_auth_failures_total{failed}")), 1.0);
    assert_eq!(scrape.get("mlsdm_permission_denied_total{permission=\"audit:read\"}"), 1.0);
    assert_eq!(scrape.get("mlsdm_governance_overhead_seconds_count{stage=\"authn\"}"), 3.0);
}
