//! Mutated request heads are rejected or served, but never cause a server error.

use actix_web::http::header::{HeaderName, HeaderValue};

use super::*;
use crate::testkit::mutate::mutations;

/// Headers that the server reads, with a valid value.
const READ: [(&str, &str); 12] = [
    ("x-request-id", "req-1.2_A"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("x-mlsdm-end-user", "ann"),
    ("x-mlsdm-engine", "default"),
    ("idempotency-key", "4b7d2f0c-1"),
    ("x-forwarded-for", "192.0.2.1, [2001:db8::1]:80, 10.0.0.1"),
    ("forwarded", "for=\"[2001:db8::1]:80\";proto=https;by=10.0.0.1, for=10.0.0.2"),
    ("origin", "https://app.example.com"),
    ("content-type", "application/json; charset=utf-8"),
    ("last-event-id", "7"),
    ("accept", "text/event-stream;q=0.9"),
    ("access-control-request-method", "POST"),
];

/// Mutations of each header.
const TIMES: usize = 150;

#[actix_web::test]
async fn mutated_headers_never_cause_a_server_error() {
    for standard in ["x-forwarded-for", "forwarded"] {
        let (state, _database) = app_state(&[
            ("RATE_LIMIT_REQUESTS", "1000000"),
            ("RATE_LIMIT_WINDOW", "1"),
            ("MLSDM__LIMITS__RATE__BURST", "1000000"),
            ("MLSDM__API__TRUSTED_PROXIES", "0.0.0.0/0"),
            ("MLSDM__API__FORWARDED_HEADER", standard),
            ("MLSDM__API__CORS_ORIGINS", "https://app.example.com"),
        ])
        .await;
        let app = test::init_service(create_app(web::Data::new(state))).await;
        let mut asked = 0;
        for (name, good) in READ {
            let name = HeaderName::from_static(name);
            for value in mutations(good.as_bytes(), TIMES) {
                let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
                for request in [
                    get("/v1/state"),
                    test::TestRequest::post().uri("/v1/moderations").set_payload("{}"),
                    test::TestRequest::with_uri("/v1/generate").method(Method::OPTIONS),
                ] {
                    let request = request.insert_header(("origin", "https://app.example.com"));
                    let request = request.insert_header((name.clone(), value.clone()));
                    let answer = answer(&app, request.to_request()).await;
                    assert!(answer.status.as_u16() < 500, "{name}: {value:?}: {}", answer.status);
                    let id = answer.header("x-request-id");
                    assert!((1..=128).contains(&id.len()), "{name}: {value:?}: {id}");
                    asked += 1;
                }
            }
        }
        assert!(asked > 1_000, "{asked}");
    }
}

#[actix_web::test]
async fn mutated_request_targets_never_cause_a_server_error() {
    let (state, _database) = app_state(&[]).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let mut asked = 0;
    for good in [
        "/v1/engines/default/events?after=1&limit=5&type=step.completed",
        "/v1/models/openai/gpt-4o%2dmini",
        "/v1/state?at_position=0",
        "/docs/swagger-ui.css",
    ] {
        for target in mutations(good.as_bytes(), 300) {
            let Ok(uri) = actix_web::http::Uri::try_from(target.as_slice()) else { continue };
            let request = test::TestRequest::with_uri(&uri.to_string()).to_request();
            let status = match app.call(request).await {
                Ok(response) => response.status(),
                Err(error) => error.as_response_error().status_code(),
            };
            assert!(status.as_u16() < 500, "{uri}: {status}");
            asked += 1;
        }
    }
    assert!(asked > 300, "{asked}");
}
