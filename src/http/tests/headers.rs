//! Security headers and CORS of all routes.

use super::*;
use crate::http::openapi;

const PAGE: &str = "https://app.example.com";

/// Fills path parameters with valid values.
fn filled(path: &str) -> String {
    let path = path.replace("{engine}", "default").replace("{position}", "1");
    path.replace("{model}", "local-stub")
}

#[actix_web::test]
async fn every_response_has_the_security_headers() {
    let (state, _database) = app_state(&[]).await;
    let app = test::init_service(create_app(web::Data::new(state)).configure(routes)).await;
    let document = serde_json::to_value(openapi::document()).unwrap();
    let documented = document["paths"].as_object().unwrap().keys().map(|path| filled(path));
    let others = ["/nowhere", "/panics", "/docs/", "/docs/nothing.js", "/v1/%ff", "/echo"];
    let paths: Vec<_> = documented.chain(others.map(str::to_owned)).collect();
    assert!(paths.len() > 35, "{paths:?}");
    for path in &paths {
        for method in [Method::GET, Method::POST, Method::OPTIONS, Method::TRACE] {
            let request = test::TestRequest::default().method(method.clone()).uri(path);
            // reads only the head, because event streams do not end
            let headers = match app.call(request.to_request()).await {
                Ok(response) => response.headers().clone(),
                Err(error) => error.error_response().headers().clone(),
            };
            let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!(header("x-content-type-options"), "nosniff", "{method} {path}");
            assert_eq!(header("x-frame-options"), "DENY", "{method} {path}");
            assert_eq!(header("referrer-policy"), "no-referrer", "{method} {path}");
            assert_eq!(header("cache-control"), "no-store", "{method} {path}");
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; "), "{method} {path}: {policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{method} {path}: {policy}");
            assert_eq!(policy.contains("script-src"), path.starts_with("/docs/"), "{path}");
            assert!(!headers.contains_key("server"), "{method} {path}");
            assert!(!headers.contains_key("strict-transport-security"), "not under TLS: {path}");
            assert!(!header("x-request-id").is_empty(), "{method} {path}");
        }
    }
}

fn preflight(origin: &str) -> test::TestRequest {
    test::TestRequest::with_uri("/v1/generate")
        .method(Method::OPTIONS)
        .insert_header(("origin", origin))
        .insert_header(("access-control-request-method", "POST"))
        .insert_header(("access-control-request-headers", "authorization, x-stainless-os"))
}

async fn cors(origins: &str) -> (AppState, TestDatabase) {
    app_state(&[("MLSDM__API__CORS_ORIGINS", origins)]).await
}

#[actix_web::test]
async fn pages_of_configured_origins_may_send_requests_and_read_responses() {
    let (state, _database) = cors("https://app.example.com,http://localhost:3000").await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let allowed = answer(&app, preflight(PAGE).to_request()).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), PAGE);
    assert!(allowed.header("access-control-allow-methods").contains("POST"));
    assert!(allowed.header("access-control-allow-headers").contains("authorization"));
    assert_eq!(allowed.header("access-control-max-age"), "600");
    assert_eq!(allowed.header("access-control-allow-credentials"), "");
    assert!(allowed.header("vary").contains("Origin"));
    assert_eq!(allowed.header("x-content-type-options"), "nosniff");

    let read = get("/v1/state").insert_header(("origin", "http://localhost:3000"));
    let read = answer(&app, read.to_request()).await;
    assert_eq!(read.header("access-control-allow-origin"), "http://localhost:3000");
    assert!(read.header("access-control-expose-headers").contains("content-type"));
    let error = get("/nowhere").insert_header(("origin", PAGE)).to_request();
    let error = answer(&app, error).await;
    assert_eq!(error.header("access-control-allow-origin"), PAGE, "pages can also read errors");
    assert_eq!(error.code(), "E901");
}

#[actix_web::test]
async fn pages_can_read_the_error_of_a_request_that_waits_for_too_long() {
    let (state, _database) = cors(PAGE).await;
    let app = test::init_service(create_app(web::Data::new(state)).configure(routes)).await;
    tokio::time::pause();
    for (method, path, is_in_doubt) in [
        (Method::GET, "/waits", false),
        (Method::POST, "/waits", true),
        (Method::POST, "/waits/embeddings", false),
    ] {
        let request = test::TestRequest::with_uri(path).method(method.clone());
        let late = answer(&app, request.insert_header(("origin", PAGE)).to_request()).await;
        assert_eq!((late.status.as_u16(), late.code()), (504, "E616".to_owned()), "{path}");
        assert_eq!(late.header("access-control-allow-origin"), PAGE, "{path}");
        assert_eq!(late.json()["outcome"] == "unknown", is_in_doubt, "{method} {path}");
        let detail = late.json()["detail"].to_string();
        assert_eq!(detail.contains("ask for less"), method == Method::GET, "{detail}");
    }
}

#[actix_web::test]
async fn pages_of_other_origins_may_not() {
    let (state, _database) = cors(PAGE).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    for origin in [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.com",
        "null",
    ] {
        let refused = answer(&app, preflight(origin).to_request()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "E908".to_owned()), "{origin}");
        assert_eq!(refused.header("access-control-allow-origin"), "", "{origin}");
        let read = get("/v1/state").insert_header(("origin", origin)).to_request();
        assert_eq!(answer(&app, read).await.header("access-control-allow-origin"), "", "{origin}");
    }
    let (state, _database) = app_state(&[]).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    let closed = answer(&app, preflight(PAGE).to_request()).await;
    assert_eq!(closed.header("access-control-allow-origin"), "", "no origin is allowed by default");
    assert_eq!((closed.status.as_u16(), closed.code()), (405, "E902".to_owned()));
}

#[actix_web::test]
async fn the_wildcard_allows_every_origin_without_credentials() {
    let (state, _database) = cors("*").await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    for request in [preflight(PAGE), get("/v1/state").insert_header(("origin", PAGE))] {
        let allowed = answer(&app, request.to_request()).await;
        assert_eq!(allowed.status, 200);
        assert_eq!(allowed.header("access-control-allow-origin"), "*");
        assert_eq!(allowed.header("access-control-allow-credentials"), "");
    }
}
