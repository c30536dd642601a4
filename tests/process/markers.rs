//! Secrets in every place of a request and of the configuration: none of them may reach a response,
//! the log or the database.

use std::{fs, path::Path};

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer, send};
use reqwest::RequestBuilder;
use serde_json::json;

use crate::metrics::scrape;

/// Part of every secret.
const MARKER: &str = "geheim";
/// Secrets of the configuration. The last is a content key, which has to be hexadecimal.
const USER: &str = "geheim-user-key-0001";
const ADMIN: &str = "geheim-admin-key-0002";
const MODEL: &str = "geheim-model-key-0003";
const CONTENT: &str = "9e8e1d9e8e1d9e8e1d9e8e1d9e8e1d9e9e8e1d9e8e1d9e8e1d9e8e1d9e8e1d9e";

#[track_caller]
fn silent(what: &str, text: &[u8]) {
    for secret in [MARKER, CONTENT] {
        let found = text.windows(secret.len()).position(|part| part == secret.as_bytes());
        let around = |at: usize| {
            let (from, to) = (at.saturating_sub(80), (at + 80).min(text.len()));
            String::from_utf8_lossy(&text[from..to]).into_owned()
        };
        assert!(found.is_none(), "{what}: {}", found.map(around).unwrap_or_default());
    }
}

fn env(database: &TestDatabase) -> TestEnv {
    TestEnv::new(database.url())
        .with("MLSDM__AUTH__MODE", "keys")
        .with("API_KEY", USER)
        .with("ADMIN_API_KEY", ADMIN)
        .with("MLSDM_CONTENT_KEY", CONTENT)
        .with("LLM_BACKEND", "openai")
        .with("OPENAI_API_KEY", MODEL)
        .with("MLSDM__LLM__MODEL", "m-1")
        // nothing listens on this port
        .with("MLSDM__LLM__OPENAI__BASE_URL", "http://127.0.0.1:9")
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1)
        .with("LOG_LEVEL", "TRACE")
}

/// Requests with valid and invalid credentials in every place.
fn requests(server: &TestServer) -> Vec<RequestBuilder> {
    let bearer = |token: &str| format!("Bearer {token}");
    let get = || server.get("/v1/state");
    let post = |path: &str| server.post(path).header("x-api-key", ADMIN);
    let jwt = "eyJhbGciOiJSUzI1NiJ9.geheim-claims.geheim-signature";
    vec![
        get().header("x-api-key", USER),
        get().header("x-api-key", "geheim-wrong-key"),
        get().header("authorization", bearer(ADMIN)),
        get().header("authorization", bearer(jwt)),
        get().header("authorization", bearer(jwt)).header("x-api-key", USER),
        get().header("authorization", format!("Basic {USER}")),
        get().header("authorization", format!("Digest username=\"{USER}\"")),
        get().header("authorization", USER),
        get().header("authorization", bearer(&format!("{USER}{}", "x".repeat(16 * 1024)))),
        get().header("proxy-authorization", bearer(ADMIN)),
        get().header("cookie", format!("token={USER}; session={jwt}")),
        get().query(&[("access_token", jwt), ("api_key", USER)]),
        get().header("x-api-key", ADMIN).query(&[("api_key", ADMIN)]),
        server.get("/health/detailed").query(&[("token", ADMIN)]).header("x-api-key", USER),
        server.get("/nowhere").query(&[("token", ADMIN)]).header("x-api-key", USER),
        post("/v1/generate").json(&json!({"prompt": "x", "moral_value": 0.9, "api_key": USER})),
        post("/v1/generate").json(&json!({"prompt": "x", "moral_value": USER})),
        post("/v1/generate").body(format!("{{\"api_key\": \"{USER}\"")),
        post("/v1/generate").body(format!("token={USER}")).header("content-type", "text/plain"),
        // the prompt is sealed; the call of the model fails
        post("/v1/generate").json(&json!({"prompt": USER, "moral_value": 0.9})),
        post("/v1/chat/completions").json(&json!({"api_key": USER, "messages": USER})),
        post("/v1/messages").json(&json!({"api_key": USER, "messages": []})),
        post("/v1/engines").json(&json!({"engine_id": "e", "policy": {"api_key": USER}})),
    ]
}

#[tokio::test]
async fn secrets_are_in_no_response_log_or_file() {
    let database = TestDatabase::sqlite();
    let env = env(&database);
    let server = env.serve().await;
    for (n, request) in requests(&server).into_iter().enumerate() {
        let reply = send(request).await.unwrap();
        let told = format!("{:?}{}", reply.headers, reply.body);
        silent(&format!("request {n} ({})", reply.status), told.as_bytes());
    }
    let admin = |path: &str| server.get(path).header("x-api-key", ADMIN);
    for path in ["/v1/events?limit=500", "/v1/me", "/v1/state"] {
        let reply = send(admin(path)).await.unwrap();
        silent(path, reply.ok().to_string().as_bytes());
    }
    for path in ["/health", "/health/live", "/health/ready", "/health/detailed", "/status"] {
        silent(path, send(server.get(path)).await.unwrap().body.to_string().as_bytes());
    }
    silent("metrics", scrape(&server).await.as_bytes());
    silent("/openapi.json", server.read("/openapi.json").await.to_string().as_bytes());
    for command in [&["config"][..], &["config", "--json"], &["check"], &["check", "--production"]]
    {
        let run = server.run(command).await;
        silent(&format!("{command:?}"), format!("{}{}", run.stdout, run.stderr).as_bytes());
    }
    // the error for an invalid configuration
    let short = env.clone().with("API_KEY", MARKER).run(&["check"]).await.exits(2);
    silent("a refused key", short.stderr.as_bytes());

    let log = server.log();
    assert!(log.contains("auth.refused"), "{log}");
    silent("the log", log.as_bytes());
    // the failed step is recorded
    assert!(admin_position(&server).await > 1);
    server.stop().await;
    files(database.folder().unwrap());
}

/// Asserts that no file of the database contains a secret.
fn files(folder: &Path) {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        bytes += content.len();
        silent(&path.display().to_string(), &content);
    }
    assert!(bytes > 10_000, "{bytes} bytes");
}

async fn admin_position(server: &TestServer) -> u64 {
    let state = send(server.get("/v1/state").header("x-api-key", ADMIN)).await.unwrap().ok();
    state["position"].as_u64().unwrap()
}
