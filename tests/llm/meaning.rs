//! Errors of a provider keep their status and their code, in the error format of each route.

use actix_web::{http::header::HeaderMap, test, web};
use mlsdm::{
    http::create_app,
    testkit::{
        TestDatabase, app_state,
        double::{Double, json as answer},
    },
};
use serde_json::{Value, json};

const ROUTES: [&str; 3] = ["/v1/generate", "/v1/chat/completions", "/v1/messages"];

/// The response to a request on this route whose provider answers with a status line and a body, and the
/// recorded failure.
async fn ask(route: &str, line: &str, body: &str) -> (u16, HeaderMap, Value, Value) {
    let double = Double::new([answer(line, "", body)]).await;
    let env = [
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &*double.url),
        ("MLSDM__LLM__MODEL", "m-1"),
        ("MLSDM__LLM__RETRY__ATTEMPTS", "3"),
    ];
    let (state, _database): (_, TestDatabase) = app_state(&env).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let messages = json!([{"role": "user", "content": "geheim-prompt"}]);
    let request = match route {
        "/v1/generate" => json!({"prompt": "geheim-prompt", "moral_value": 0.9}),
        _ => json!({"model": "m-1", "max_tokens": 9, "messages": messages}),
    };
    let request = test::TestRequest::post().uri(route).set_json(request).to_request();
    let response = test::call_service(&app, request).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body: Value = test::read_body_json(response).await;
    assert_eq!(double.times(), 1, "the server does not retry {line}");
    assert!(!body.to_string().contains("geheim"), "{body}");
    let request = test::TestRequest::get().uri("/v1/events?type=step.failed").to_request();
    let events: Value = test::call_and_read_body_json(&app, request).await;
    let failed = events["events"][0]["clear"].clone();
    (status, headers, body, failed)
}

fn error(code: &str) -> String {
    let message = format!("you said geheim-prompt: {code}");
    json!({"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}})
        .to_string()
}

#[actix_web::test]
async fn a_refusal_keeps_its_status_and_its_code_on_every_route() {
    for (line, status, code, own) in [
        ("400 Bad Request", 400, "context_length_exceeded", "E610"),
        ("404 Not Found", 404, "model_not_found", "E611"),
        ("413 Content Too Large", 413, "request_too_large", "E612"),
        ("422 Unprocessable", 422, "invalid_value", "E613"),
    ] {
        for route in ROUTES {
            let (kept, headers, body, failed) = ask(route, line, &error(code)).await;
            assert_eq!(kept, status, "{route}: {body}");
            assert!(!headers.contains_key("retry-after"), "{route}");
            let (told, param, mine) = if route == "/v1/generate" {
                let said = &body["provider_error"];
                assert_eq!(
                    (&said["provider"], &said["status"]),
                    (&json!("openai"), &json!(status))
                );
                (&said["code"], &said["param"], &body["code"])
            } else {
                let error = &body["error"];
                (&error["code"], &error["param"], &error["mlsdm_code"])
            };
            assert_eq!(
                (told, param, mine),
                (&json!(code), &json!("messages"), &json!(own)),
                "{body}"
            );
            let call = &failed["calls"][0];
            let recorded = (&call["code"], &call["status"], &call["provider_code"]);
            assert_eq!(recorded, (&json!("refused"), &json!(status), &json!(code)), "{failed}");
        }
    }
}

#[actix_web::test]
async fn a_prompt_that_is_too_long_is_told_in_the_words_that_agents_look_for() {
    let said = r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum: geheim"}}"#;
    let (status, _, body, _) = ask("/v1/messages", "400 Bad Request", said).await;
    assert_eq!((status, &body["type"]), (400, &json!("error")));
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(body["error"]["code"], "context_length_exceeded");
    assert!(body["error"]["message"].as_str().unwrap().contains("prompt is too long"), "{body}");
}

#[actix_web::test]
async fn an_exhausted_quota_does_not_invite_a_retry() {
    for route in ROUTES {
        let line = "429 Too Many Requests";
        let (status, headers, body, failed) = ask(route, line, &error("insufficient_quota")).await;
        assert_eq!(status, 429, "{body}");
        assert!(!headers.contains_key("retry-after"), "{headers:?}");
        assert_eq!(headers.get("x-should-retry").unwrap(), "false");
        assert_eq!(failed["code"], "insufficient_quota");
        if route == "/v1/chat/completions" {
            assert_eq!(body["error"]["code"], "insufficient_quota");
        }
    }
}

#[actix_web::test]
async fn a_rejected_key_of_the_server_is_told_apart_from_the_key_of_the_caller() {
    for line in ["401 Unauthorized", "403 Forbidden"] {
        let (status, headers, body, _) = ask("/v1/chat/completions", line, &error("x")).await;
        assert_eq!((status, &body["error"]["code"]), (502, &json!("provider_unauthorized")));
        assert_eq!(headers.get("x-should-retry").unwrap(), "false");
    }
}

#[actix_web::test]
async fn an_error_body_without_an_end_is_not_read_on() {
    let endless = format!("{{\"error\":{{\"code\":\"{}\"}}}}", "x".repeat(1 << 20));
    let (status, _, body, _) = ask("/v1/chat/completions", "400 Bad Request", &endless).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_request")));
}
