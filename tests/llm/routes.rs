//! The HTTP responses to failures of a provider.

use actix_web::{http::StatusCode, test, web};
use mlsdm::{
    domain::ids::EngineId,
    http::create_app,
    testkit::{TestDatabase, app_state},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use mlsdm::testkit::double::{Act, Double, completion, failing, json as answer};

/// The status, the `Retry-After` and the body of the last of `times` requests.
async fn ask(acts: Vec<Act>, env: &[(&str, &str)], times: usize) -> (u16, Option<String>, Value) {
    let double = Double::new(acts).await;
    let own = [
        ("LLM_BACKEND", "openai"),
        ("OPENAI_API_KEY", "sk-geheim"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &*double.url),
        ("MLSDM__LLM__MODEL", "m-1"),
        ("MLSDM__LLM__RETRY__ATTEMPTS", "1"),
    ];
    let (state, _database): (_, TestDatabase) = app_state(&[&own[..], env].concat()).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let mut last = (0, None, Value::Null);
    for _ in 0..times {
        let body = json!({ "prompt": "geheim-prompt", "moral_value": 0.9 });
        let request = test::TestRequest::post().uri("/v1/generate").set_json(body).to_request();
        let response = test::call_service(&app, request).await;
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let wait = wait.map(|wait| wait.to_str().unwrap().to_owned());
        let body: Value = test::read_body_json(response).await;
        if status != StatusCode::OK.as_u16() {
            assert!(!body.to_string().contains("geheim"), "{body}");
        }
        last = (status, wait, body);
    }
    let request = test::TestRequest::get().uri("/health/detailed").to_request();
    let health: Value = test::call_and_read_body_json(&app, request).await;
    last.2["breaker"] = health["breakers"]["openai:m-1"].clone();
    let request = test::TestRequest::get().uri("/v1/state").to_request();
    let state: Value = test::call_and_read_body_json(&app, request).await;
    assert_eq!(state["reliability"]["breakers"], health["breakers"]);
    last
}

#[actix_web::test]
async fn an_answer_names_the_model() {
    let (status, _, body) = ask(vec![completion("Hello there")], &[], 1).await;
    assert_eq!((status, &body["response"]), (200, &json!("Hello there")));
    assert_eq!((&body["model"], &body["breaker"]), (&json!("m-1-2026"), &json!("closed")));
}

#[actix_web::test]
async fn a_rate_limit_and_an_overload_of_the_provider_keep_their_retry_after() {
    for (line, kept, code) in [("429 Too Many", 429, "E614"), ("529 Overloaded", 503, "E607")] {
        let busy = answer(line, "Retry-After: 77\r\n", "{}");
        let (status, wait, body) = ask(vec![busy], &[], 1).await;
        assert_eq!((status, wait.as_deref()), (kept, Some("77")));
        assert_eq!(body["code"], code);
    }
}

#[actix_web::test]
async fn an_open_breaker_is_a_503_with_retry_after() {
    let env = [("MLSDM__LLM__BREAKER__FAILURES", "2")];
    let (status, wait, body) = ask(failing(2), &env, 3).await;
    assert_eq!((status, &body["code"], &body["breaker"]), (503, &json!("E607"), &json!("open")));
    let wait: u64 = wait.unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
}

#[actix_web::test]
async fn a_request_that_an_open_breaker_refuses_is_not_recorded() {
    let acts = [completion("Hello there")].into_iter().chain(failing(2));
    let double = Double::new(acts).await;
    let (state, _database) = app_state(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &*double.url),
        ("MLSDM__LLM__MODEL", "m-1"),
        ("MLSDM__LLM__RETRY__ATTEMPTS", "1"),
        ("MLSDM__LLM__BREAKER__FAILURES", "2"),
    ])
    .await;
    let engines = state.engines.clone();
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let ask = async |key: Option<&'static str>| {
        let body = json!({ "prompt": "Hello", "moral_value": 0.9 });
        let mut request = test::TestRequest::post().uri("/v1/generate").set_json(body);
        if let Some(key) = key {
            request = request.insert_header(("idempotency-key", key));
        }
        test::call_service(&app, request.to_request()).await.status().as_u16()
    };
    let head = async || engines.get(&EngineId::default()).await.unwrap().view().state.position;
    assert_eq!(ask(Some("answered")).await, 200);
    assert_eq!((ask(None).await, ask(None).await), (502, 502));
    let before = head().await;
    assert_eq!((ask(None).await, ask(Some("new")).await), (503, 503));
    assert_eq!(head().await, before, "no event");
    assert_eq!(ask(Some("answered")).await, 200, "the answer is in the log");
    assert_eq!(head().await, before);
    engines.record_all_refusals().await;
    let log = engines.parts().store.read(&EngineId::default(), before, 10).await.unwrap();
    let counted: Vec<Value> =
        log.iter().map(|record| serde_json::from_slice(&record.payload).unwrap()).collect();
    let total: u64 = counted.iter().filter_map(|event| event["counts"]["E607"].as_u64()).sum();
    assert_eq!(total, 2, "{counted:?}");
    assert_eq!(double.times(), 3);
}

#[actix_web::test]
async fn a_failed_provider_and_rejected_credentials_have_different_codes() {
    let (status, _, body) = ask(failing(1), &[], 1).await;
    assert_eq!((status, &body["code"]), (502, &json!("E601")));
    let rejected = answer("401 Unauthorized", "", "{}");
    let (status, _, body) = ask(vec![rejected], &[], 1).await;
    assert_eq!((status, &body["code"]), (502, &json!("E608")));
}

fn get(uri: &str) -> test::TestRequest {
    test::TestRequest::get().uri(uri)
}

fn step(uri: &str) -> test::TestRequest {
    test::TestRequest::post().uri(uri).set_json(json!({ "prompt": "Hello", "moral_value": 0.9 }))
}

#[actix_web::test]
async fn administration_and_queries_do_not_wait_for_models_that_hang() {
    let (release, gates): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel()).unzip();
    let Act::Send(bytes) = completion("Hello there") else { panic!("an answer is bytes") };
    let acts = gates.into_iter().map(|gate| Act::SendWhen(gate, bytes.clone()));
    let double = Double::new(acts).await;
    let (state, _database) = app_state(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &*double.url),
        ("MLSDM__LLM__MODEL", "m-1"),
        ("MLSDM__LIMITS__STEP_CONCURRENCY", "2"),
        ("MLSDM__LIMITS__STEP_QUEUE", "1"),
        ("MLSDM__LIMITS__CONCURRENCY", "1"),
        ("MLSDM__LIMITS__QUEUE", "0"),
    ])
    .await;
    let state = web::Data::new(state);
    let app = test::init_service(create_app(state.clone())).await;
    let send = async |request: test::TestRequest| {
        let response = test::call_service(&app, request.to_request()).await;
        let wait = response.headers().contains_key("retry-after");
        (response.status().as_u16(), wait)
    };
    let queued = async || {
        while state.step_limiter.waiting() < 1 {
            tokio::task::yield_now().await;
        }
    };
    let others = async {
        double.asked(2).await;
        // a client that leaves frees its place in the queue
        for _ in 0..3 {
            tokio::select! {
                answered = send(step("/v1/generate")) => panic!("{answered:?}"),
                () = queued() => {}
            }
        }
        assert_eq!(state.step_limiter.waiting(), 0);
        let waits = send(step("/v1/engines/default/generate"));
        let meanwhile = async {
            queued().await;
            assert_eq!(send(step("/v1/generate")).await, (503, true), "the queue is full");
            let texts = test::TestRequest::post().uri("/v1/embeddings").set_json(json!({}));
            assert_eq!(send(texts).await, (503, true));
            for uri in ["/v1/state", "/v1/events", "/v1/engines", "/v1/me", "/health"] {
                assert_eq!(send(get(uri)).await, (200, false), "{uri}");
            }
            let shutdown = test::TestRequest::post().uri("/v1/admin/shutdown").set_json(json!({}));
            assert_eq!(send(shutdown).await, (200, false));
            for gate in release {
                gate.send(()).unwrap();
            }
        };
        let (queued, ()) = tokio::join!(waits, meanwhile);
        assert_eq!(queued.0, 503, "the engine is shut down");
    };
    let (first, second, ()) =
        tokio::join!(send(step("/v1/generate")), send(step("/v1/generate")), others);
    assert_eq!((first, second), ((200, false), (200, false)));
    assert_eq!(double.times(), 2);
}
