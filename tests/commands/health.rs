use std::path::PathBuf;

use actix_web::{test, web};
use mlsdm::{
    config::{Config, Sources},
    domain::policy::Policy,
    http::{AppState, create_app},
    startup,
    testkit::{TestDatabase, open_authenticator},
};
use serde_json::{Value, json};

use crate::log::{Process, say};

fn config() -> Config {
    let dir = PathBuf::from("/nonexistent");
    let env = vec![("DISABLE_RATE_LIMIT".to_owned(), "true".to_owned())];
    Config::load(Sources { file: None, dir, env, flags: Vec::new() }).unwrap().config
}

pub(crate) async fn state(process: &Process) -> web::Data<AppState> {
    let (engines, tasks) = (process.engines.clone(), process.tasks.clone());
    let auth = open_authenticator(&tasks).await;
    web::Data::new(startup::state(&config(), auth, engines, tasks))
}

/// Status and body of a GET.
macro_rules! get {
    ($app:expr, $path:expr) => {{
        let response =
            test::call_service(&$app, test::TestRequest::get().uri($path).to_request()).await;
        let status = response.status();
        let body: Value = serde_json::from_slice(&test::read_body(response).await).unwrap();
        (status, body)
    }};
}

#[actix_web::test]
async fn health_has_the_fields_of_the_guide_and_a_full_memory_is_healthy() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    let engine = process.default(&Policy { capacity: 2, ..Policy::default() }).await;
    for prompt in ["One thing", "Another thing", "A third thing"] {
        say(&engine, "ann", prompt, 0.9).await;
    }
    let app = test::init_service(create_app(state(&process).await)).await;
    let (status, health) = get!(app, "/health");
    assert_eq!(status, 200);
    let position = engine.view().state.position;
    let expected = json!({
        "status": "healthy",
        "step": 3,
        "phase": "wake",
        "memory_used": 2,
        "memory_capacity": 2,
        "checks": {
            "memory": { "status": "warning", "used": 2, "capacity": 2, "percentage": 100.0 },
            "moral_filter": { "status": "ok", "threshold": 0.5 },
            "phase": { "current": "wake", "step": 3 },
            "log": { "status": "ok", "position": position },
        },
        // the configuration says 20,000
        "policy_drift": true,
    });
    assert_eq!(health, expected);
    let (status, detailed) = get!(app, "/status");
    assert_eq!((status.as_u16(), &detailed["status"]), (200, &json!("healthy")));
    assert_eq!(detailed["backends"]["log"], json!({ "kind": "sqlite", "status": "ok" }));
    assert_eq!(detailed["engines"]["loaded"], 1);
    assert_eq!(detailed["engines"]["log_lag_events"], 0);
    assert_eq!(detailed["breakers"], json!({ "function": "closed" }));
    assert_eq!(detailed["policy_drift"], true);
    assert_eq!(detailed["version"], env!("CARGO_PKG_VERSION"));
    assert!(!detailed.to_string().contains("sqlite://"), "no secret");
}

#[actix_web::test]
async fn a_server_whose_log_refuses_writes_is_degraded_and_not_ready() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    let engine = process.default(&Policy::default()).await;
    process.engines.parts().store.close().await;
    let app = test::init_service(create_app(state(&process).await)).await;
    let (status, health) = get!(app, "/health");
    assert_eq!((status.as_u16(), &health["status"]), (503, &json!("degraded")));
    assert_eq!(health["checks"]["log"]["status"], "error");
    assert_eq!(health["checks"]["log"]["position"], engine.view().state.position);
    let (status, problem) = get!(app, "/health/ready");
    assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("E401")));
    assert_eq!(get!(app, "/health/live").0, 200);
    let (status, detailed) = get!(app, "/health/detailed");
    assert_eq!((status.as_u16(), &detailed["status"]), (200, &json!("degraded")));
    assert_eq!(detailed["engines"]["log_lag_events"], Value::Null);
}

#[actix_web::test]
async fn a_probe_loads_the_default_engine() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    let app = test::init_service(create_app(state(&process).await)).await;
    let (status, missing) = get!(app, "/health");
    assert_eq!((status.as_u16(), &missing["code"]), (404, &json!("E408")));
    drop(process.default(&Policy::default()).await);
    process.engines.unload_all();
    assert_eq!(get!(app, "/health/ready").0, 200);
    assert_eq!(process.engines.in_memory().len(), 1);
}
