use std::time::Duration;

use super::*;
use crate::{
    store::{Record, StoreError, faults::Fault},
    testkit::app::TestApp,
};

const MINUTE: Duration = Duration::from_mins(1);

/// An app whose default engine is in memory.
async fn app() -> TestApp {
    let app = TestApp::sqlite().await;
    app.engine().await;
    app
}

/// The payloads of the events of one type.
async fn recorded(app: &TestApp, log: &EngineId, kind: &str) -> Vec<serde_json::Value> {
    let rows = app.engines.parts().store.read(log, 0, 1_000).await.unwrap();
    let of_kind =
        |row: &Record| (row.kind == kind).then(|| serde_json::from_slice(&row.payload).unwrap());
    rows.iter().filter_map(of_kind).collect()
}

async fn refused(app: &TestApp) -> Vec<serde_json::Value> {
    recorded(app, &EngineId::default(), "requests.refused").await
}

#[tokio::test]
async fn refused_requests_are_one_event_after_their_minute() {
    let app = app().await;
    let id = EngineId::default();
    let began = minute(app.engines.parts().store.log_time(&id));
    app.engines.count_refused(&id, "E505");
    app.engines.count_refused(&id, "E701");
    app.engines.count_refused(&id, "E505");
    app.engines.record_refusals().await;
    assert!(refused(&app).await.is_empty(), "the minute has not ended");
    app.pass(MINUTE);
    app.engines.count_refused(&id, "E907");
    app.engines.record_refusals().await;
    let expected = serde_json::json!({"minute": began, "counts": {"E505": 2, "E701": 1}});
    assert_eq!(refused(&app).await, [expected]);
    app.pass(MINUTE);
    app.engines.record_refusals().await;
    app.engines.record_refusals().await;
    let events = refused(&app).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1]["counts"], serde_json::json!({"E907": 1}));
}

#[tokio::test]
async fn denied_accesses_are_in_the_log_of_the_server() {
    let app = app().await;
    app.engines.system().await.unwrap();
    app.engines.count_denied("expired");
    app.engines.count_denied("permission");
    app.pass(MINUTE);
    app.engines.record_refusals().await;
    let events = recorded(&app, &EngineId::system(), "access.denied").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["counts"], serde_json::json!({"expired": 1, "permission": 1}));
    assert!(refused(&app).await.is_empty());
}

#[tokio::test]
async fn counts_that_could_not_be_recorded_are_recorded_later() {
    let app = app().await;
    app.engines.count_refused(&EngineId::default(), "E505");
    app.pass(MINUTE);
    app.faults.plan([Fault::Begin(StoreError::Unavailable("injected".into()))]);
    app.engines.record_refusals().await;
    assert!(refused(&app).await.is_empty());
    app.engines.count_refused(&EngineId::default(), "E505");
    app.engines.record_refusals().await;
    assert_eq!(refused(&app).await[0]["counts"], serde_json::json!({"E505": 1}));
}

#[tokio::test]
async fn the_current_minute_is_recorded_when_the_server_stops() {
    let app = app().await;
    app.engines.count_refused(&EngineId::default(), "E505");
    app.engines.tasks().stop().begin();
    app.engines.record_all_refusals().await;
    assert_eq!(refused(&app).await[0]["counts"], serde_json::json!({"E505": 1}));
}

#[tokio::test]
async fn counts_of_an_engine_that_is_not_in_memory_wait_until_it_is() {
    let app = app().await;
    app.engines.count_refused(&EngineId::default(), "E505");
    app.pass(MINUTE);
    app.engines.unload_all();
    app.engines.record_refusals().await;
    assert!(app.engines.in_memory().is_empty(), "background work loads no engine");
    assert!(refused(&app).await.is_empty());
    app.engine().await;
    app.engines.record_refusals().await;
    assert_eq!(refused(&app).await[0]["counts"], serde_json::json!({"E505": 1}));
}
