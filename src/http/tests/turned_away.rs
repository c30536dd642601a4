//! Requests that leave no step are counted in the log that they belong to.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{clock, engine::Engines, testkit::guarded_app_state};

const USER: (&str, &str) = ("API_KEY", "user-key-of-the-test");

/// The counts of the newest event of one type, which is recorded now.
async fn counts(engines: &Engines, log: EngineId, kind: &str) -> Value {
    engines.record_all_refusals().await;
    let rows = engines.parts().store.read(&log, 0, 1_000).await.unwrap();
    let found: Vec<&[u8]> =
        rows.iter().filter(|row| row.kind == kind).map(|row| &*row.payload).collect();
    // the test may run across the end of a minute
    let mut sum = serde_json::Map::new();
    for payload in found {
        let event: Value = serde_json::from_slice(payload).unwrap();
        for (code, count) in event["counts"].as_object().unwrap() {
            let before = sum.get(code).and_then(Value::as_u64).unwrap_or(0);
            sum.insert(code.clone(), json!(before + count.as_u64().unwrap()));
        }
    }
    Value::Object(sum)
}

fn step(uri: &str) -> test::TestRequest {
    test::TestRequest::post().uri(uri).set_json(json!({"prompt": "Hello", "moral_value": 0.9}))
}

#[actix_web::test]
async fn denied_accesses_are_counted_by_reason() {
    let env = [("MLSDM__AUTH__MODE", "keys"), ("MLSDM__AUTH__API_KEY_ROLE", "user"), USER];
    let (state, _database) = guarded_app_state(&env, Arc::new(clock::now_micros)).await;
    let engines = state.engines.clone();
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let with = |request: test::TestRequest, key: &str| {
        request.insert_header(("x-api-key", key.to_owned())).to_request()
    };
    for (request, status) in [
        (get("/v1/state").to_request(), 401),
        (with(get("/v1/state"), "wrong"), 401),
        (with(step("/v1/generate"), "wrong"), 401),
        (with(get("/v1/keys"), USER.1), 403),
        (with(step("/v1/generate").insert_header(("x-mlsdm-end-user", "bob")), USER.1), 403),
        (with(get("/openapi.json"), "wrong"), 200),
        (with(step("/v1/generate"), USER.1), 200),
    ] {
        let uri = request.uri().clone();
        assert_eq!(answer(&app, request).await.status.as_u16(), status, "{uri}");
    }
    let expected = json!({"credential": 1, "unknown_api_key": 2, "permission": 1, "delegation": 1});
    assert_eq!(counts(&engines, EngineId::system(), "access.denied").await, expected);
    assert_eq!(counts(&engines, EngineId::default(), "requests.refused").await, json!({}));
}

#[actix_web::test]
async fn requests_for_steps_are_counted_for_the_engine_that_turns_them_away() {
    let (state, _database) = app_state(&[("MLSDM__MLSDM__POLICY__BUDGET__TOKENS", "1")]).await;
    let engines = state.engines.clone();
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let mut spent = answer(&app, step("/v1/generate").to_request()).await;
    while spent.status == 200 {
        spent = answer(&app, step("/v1/generate").to_request()).await;
    }
    assert_eq!(spent.code(), "E505");
    let spent = answer(&app, step("/v1/engines/default/generate").to_request()).await;
    assert_eq!(spent.code(), "E505");
    let act = test::TestRequest::post().uri("/v1/admin/shutdown").set_json(json!({}));
    assert_eq!(answer(&app, act.to_request()).await.status, 200);
    assert_eq!(answer(&app, step("/v1/generate").to_request()).await.code(), "E701");
    let unknown = answer(&app, step("/v1/engines/nowhere/generate").to_request()).await;
    assert_eq!(unknown.status, 404);
    let expected = json!({"E505": 2, "E701": 1});
    assert_eq!(counts(&engines, EngineId::default(), "requests.refused").await, expected);
}

#[actix_web::test]
async fn a_request_for_a_step_above_the_rate_limit_is_counted() {
    let env = [
        ("RATE_LIMIT_REQUESTS", "1"),
        ("RATE_LIMIT_WINDOW", "86400"),
        ("MLSDM__LIMITS__RATE__BURST", "1"),
    ];
    let (state, _database) = app_state(&env).await;
    let engines = state.engines.clone();
    let app = test::init_service(create_app(web::Data::new(state))).await;
    assert_eq!(answer(&app, step("/v1/generate").to_request()).await.status, 200);
    for uri in ["/v1/generate", "/v1/engines/nowhere/generate", "/v1/chat/completions"] {
        assert_eq!(answer(&app, step(uri).to_request()).await.status, 429, "{uri}");
    }
    assert_eq!(answer(&app, get("/v1/state").to_request()).await.status, 429, "it runs no step");
    let counted = counts(&engines, EngineId::default(), "requests.refused").await;
    assert_eq!(counted, json!({"E907": 3}));
}
