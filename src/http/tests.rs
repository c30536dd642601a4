mod damaged;
mod document;
mod headers;
mod ids;
mod rates;
mod turned_away;

use std::time::Duration;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::{Method, StatusCode},
    test, web,
};
use serde::Deserialize;
use serde_json::Value;

use super::{AppState, Endpoint, access::Public, body::JsonBody, create_app};
use crate::{
    config::{Format, Level},
    domain::ids::EngineId,
    inflight::Inflight,
    lifecycle::Stop,
    limiter::Limiter,
    telemetry::logs::{buffer::Buffer, subscriber},
    testkit::{TestDatabase, app_state},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    n: u8,
}

async fn state(stop: Stop) -> (AppState, TestDatabase) {
    let (state, database) = app_state(&[("MLSDM__LIMITS__BODY_BYTES", "1024")]).await;
    (AppState { stop, ..state }, database)
}

async fn echo(_: Public, JsonBody(body): JsonBody<Echo>) -> String {
    std::future::ready(body.n.to_string()).await
}

async fn query(_: Public, query: web::Query<Echo>) -> String {
    std::future::ready(query.n.to_string()).await
}

async fn engine(_: Public, path: web::Path<(EngineId, u64)>) -> String {
    std::future::ready(path.0.to_string()).await
}

async fn panics(_: Public) -> String {
    std::future::ready(()).await;
    panic!("geheim")
}

async fn waits(_: Public) -> String {
    std::future::pending().await
}

fn routes(services: &mut web::ServiceConfig) {
    services
        .service(Endpoint::at("/echo").post(echo).build())
        .service(Endpoint::at("/query").get(query).build())
        .service(Endpoint::at("/engines/{engine}/events/{position}").get(engine).build())
        .service(Endpoint::at("/panics").get(panics).build())
        .service(Endpoint::at("/waits").get(waits).post(waits).build())
        .service(Endpoint::at("/waits/embeddings").post(waits).build());
}

struct Answer {
    status: StatusCode,
    headers: actix_web::http::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["request_id"], self.header("x-request-id"));
        assert_eq!(body["trace_id"].as_str().unwrap().len(), 32);
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("/docs/errors#{code}"));
        assert!(!body["title"].as_str().unwrap().is_empty());
        assert!(!body["detail"].as_str().unwrap().is_empty());
        code
    }
}

async fn answer<R, B: MessageBody>(
    app: &impl Service<R, Response = ServiceResponse<B>, Error = Error>,
    request: R,
) -> Answer {
    let (status, headers, body) = match app.call(request).await {
        Ok(response) => {
            let (status, headers) = (response.status(), response.headers().clone());
            (status, headers, test::read_body(response).await)
        }
        Err(error) => {
            let response = error.error_response();
            let (status, headers) = (response.status(), response.headers().clone());
            let body = actix_web::body::to_bytes(response.into_body()).await;
            (status, headers, body.unwrap_or_default())
        }
    };
    Answer { status, headers, body: body.to_vec() }
}

/// The answer to one request of an app with test routes.
async fn ask(stop: Stop, request: test::TestRequest) -> Answer {
    let (state, _database) = state(stop).await;
    let app = test::init_service(create_app(web::Data::new(state)).configure(routes)).await;
    answer(&app, request.to_request()).await
}

fn get(uri: &str) -> test::TestRequest {
    test::TestRequest::get().uri(uri)
}

fn post(body: &'static str) -> test::TestRequest {
    let request = test::TestRequest::post().uri("/echo").set_payload(body);
    request.insert_header(("content-type", "application/json"))
}

async fn code(request: test::TestRequest) -> (u16, String) {
    let answer = ask(Stop::default(), request).await;
    (answer.status.as_u16(), answer.code())
}

#[actix_web::test]
async fn a_valid_request_is_answered_with_security_headers() {
    let answer = ask(Stop::default(), post("{\"n\": 7}")).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, b"7".as_slice()));
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
}

#[actix_web::test]
async fn errors_of_the_framework_are_answered_as_problems() {
    let long = Box::leak(format!("{{\"n\": \"{}\"}}", "x".repeat(2000)).into_boxed_str());
    let cases = [
        (post("{\"n\": "), 400, "E101"),
        (post("{\"n\": 1, \"m\": 2}"), 400, "E102"),
        (post("{\"n\": \"geheim\"}"), 400, "E102"),
        (post("{\"n\": 1}").insert_header(("content-type", "text/plain")), 415, "E903"),
        (post(long), 413, "E904"),
        (get("/query?n=geheim"), 400, "E110"),
        (get("/query"), 400, "E110"),
        (get("/engines/NO/events/1"), 400, "E109"),
        (get("/engines/default/events/x"), 400, "E110"),
        (get("/nowhere"), 404, "E901"),
        (get("/docs/nothing.js"), 404, "E901"),
        (get("/echo"), 405, "E902"),
        (test::TestRequest::delete().uri("/health/live"), 405, "E902"),
        (get("/panics"), 500, "E703"),
    ];
    for (request, status, expected) in cases {
        let answer = ask(Stop::default(), request).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, expected.to_owned()));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(!String::from_utf8_lossy(&answer.body).contains("geheim"));
    }
}

#[actix_web::test]
async fn a_missing_content_type_is_unsupported() {
    let request = test::TestRequest::post().uri("/echo").set_payload("{\"n\": 1}");
    assert_eq!(code(request).await, (415, "E903".to_owned()));
}

#[actix_web::test]
async fn a_405_names_the_methods_of_the_resource() {
    let answer = ask(Stop::default(), test::TestRequest::delete().uri("/health/live")).await;
    assert_eq!(answer.header("allow"), "GET, HEAD");
    let answer = ask(Stop::default(), get("/echo")).await;
    assert_eq!(answer.header("allow"), "POST");
}

#[actix_web::test]
async fn valid_request_and_trace_ids_are_adopted_and_others_replaced() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = get("/nowhere")
        .insert_header(("x-request-id", "req-12345"))
        .insert_header(("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")));
    let adopted = ask(Stop::default(), request).await;
    assert_eq!(adopted.header("x-request-id"), "req-12345");
    assert_eq!(adopted.json()["trace_id"], trace);

    let request = get("/nowhere").insert_header(("x-request-id", "no spaces"));
    let replaced = ask(Stop::default(), request).await;
    assert_eq!(replaced.header("x-request-id").len(), 36);
    assert_ne!(replaced.json()["trace_id"], trace);
}

#[actix_web::test]
async fn a_server_that_drains_is_alive_and_serves_but_is_not_ready() {
    let stop = Stop::default();
    stop.leave();
    assert_eq!(ask(stop.clone(), get("/health/live")).await.status, 200);
    let ready = ask(stop.clone(), get("/health/ready")).await;
    assert_eq!((ready.status.as_u16(), ready.code()), (503, "E702".to_owned()));
    assert_eq!(ready.header("retry-after"), "1");
    assert_eq!(ask(stop, post("{\"n\": 1}")).await.status, 200);
}

#[actix_web::test]
async fn a_stopping_server_rejects_new_requests() {
    let stop = Stop::default();
    stop.begin();
    let refused = ask(stop.clone(), post("{\"n\": 1}")).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, "E702".to_owned()));
    assert_eq!(refused.header("connection"), "close");
    assert_eq!(ask(stop, get("/health/live")).await.status, 200);
}

#[actix_web::test]
async fn the_concurrency_limit_does_not_apply_to_health_probes() {
    let limits = Limiter::new(1, 0, Duration::ZERO);
    let _busy = limits.admit().await.unwrap();
    let (state, _database) = state(Stop::default()).await;
    let full = AppState { limiter: limits, ..state };
    let app = test::init_service(create_app(web::Data::new(full)).configure(routes)).await;
    let refused = answer(&app, get("/query?n=1").to_request()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, "E704".to_owned()));
    assert_eq!(answer(&app, get("/health/ready").to_request()).await.status, 200);
    assert_eq!(answer(&app, get("/healthy").to_request()).await.status, 503, "not a health route");
}

#[actix_web::test]
async fn a_body_beyond_the_memory_limit_is_told_to_come_back_and_the_memory_is_given_back() {
    let (state, _database) = state(Stop::default()).await;
    let inflight = Inflight::new(4 * "{\"n\": 1}".len());
    let small = AppState { reserve: std::sync::Arc::clone(&inflight), ..state };
    let app = test::init_service(create_app(web::Data::new(small)).configure(routes)).await;
    assert_eq!(answer(&app, post("{\"n\": 1}").to_request()).await.status, 200);
    assert_eq!(inflight.used(), 0);
    let refused = answer(&app, post("{\"n\": 11}").to_request()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, "E706".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(inflight.used(), 0);
}

#[actix_web::test]
async fn the_documentation_is_served_unless_it_is_disabled() {
    let document = ask(Stop::default(), get("/openapi.json")).await.json();
    assert_eq!(document["info"]["title"], "MLSDM Cognitive API");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/health/ready"]["get"].is_object());

    let redirect = ask(Stop::default(), get("/docs")).await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (308, "/docs/"));
    let page = ask(Stop::default(), get("/docs/")).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    let script = ask(Stop::default(), get("/docs/swagger-initializer.js")).await;
    assert!(String::from_utf8_lossy(&script.body).contains("/openapi.json"));

    let (state, _database) = state(Stop::default()).await;
    let bare = AppState { docs: false, ..state };
    let app = test::init_service(create_app(web::Data::new(bare))).await;
    assert_eq!(answer(&app, get("/docs/").to_request()).await.code(), "E901");
    assert_eq!(answer(&app, get("/openapi.json").to_request()).await.code(), "E901");
}

#[actix_web::test]
async fn each_request_is_one_log_line_with_ids_route_and_code() {
    let buffer = Buffer::default();
    let guard =
        tracing::subscriber::set_default(subscriber(Level::Info, Format::Json, buffer.clone()));
    let request = get("/engines/default/events/x?q=geheim").insert_header(("x-request-id", "r-1"));
    ask(Stop::default(), request).await;
    ask(Stop::default(), get("/geheim")).await;
    ask(Stop::default(), get("/panics")).await;
    drop(guard);
    let lines = buffer.lines();
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    // background tasks may log errors, since the database of the test is gone
    let asked =
        |line: &Value| line["event_type"].as_str().is_some_and(|of| of.starts_with("http."));
    let lines: Vec<Value> = lines.filter(asked).collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let bad = &lines[0];
    assert_eq!(bad["route"], "/engines/{engine}/events/{position}");
    assert_eq!(
        (bad["request_id"].as_str(), bad["error_code"].as_str()),
        (Some("r-1"), Some("E110"))
    );
    assert_eq!((bad["status"].as_u64(), bad["method"].as_str()), (Some(400), Some("GET")));
    assert_eq!(
        (bad["level"].as_str(), bad["event_type"].as_str()),
        (Some("INFO"), Some("http.request"))
    );
    assert!(bad["latency_ms"].is_f64() && bad["trace_id"].as_str().unwrap().len() == 32);
    assert_eq!(lines[1]["route"], "unmatched");
    let (fault, line) = (&lines[2], &lines[3]);
    assert_eq!(
        (fault["level"].as_str(), fault["error_code"].as_str()),
        (Some("ERROR"), Some("E703"))
    );
    assert_eq!((line["status"].as_u64(), line["route"].as_str()), (Some(500), Some("/panics")));
    assert_eq!(fault["request_id"], line["request_id"]);
    assert!(!buffer.lines().concat().contains("geheim"));
}

#[actix_web::test]
async fn an_exhausted_budget_is_answered_with_429_and_retry_after() {
    let (state, _database) = app_state(&[("MLSDM__MLSDM__POLICY__BUDGET__TOKENS", "10")]).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let generate = || {
        let request = test::TestRequest::post().uri("/v1/generate");
        let request = request.insert_header(("content-type", "application/json"));
        request.set_payload(r#"{"prompt": "My dog is called Rex", "moral_value": 0.9}"#)
    };
    let mut refused = answer(&app, generate().to_request()).await;
    assert_eq!(refused.status, 200);
    while refused.status == 200 {
        refused = answer(&app, generate().to_request()).await;
    }
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "E505".to_owned()));
    let seconds: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    let state = answer(&app, get("/v1/state").to_request()).await.json();
    assert_eq!(state["budget"]["limit"]["tokens"], 10);
    assert!(state["budget"]["spent"]["tokens"].as_u64().unwrap() >= 10);
    assert_eq!(state["policy"]["budget"]["tokens"], 10);

    let (state, _database) =
        app_state(&[("MLSDM__MLSDM__POLICY__BUDGET__COST_MICRO_USD", "10")]).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let refused = answer(&app, generate().to_request()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "E507".to_owned()));
}
