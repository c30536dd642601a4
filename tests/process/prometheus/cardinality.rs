//! The number of series depends on the configuration and not on callers.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use mlsdm::testkit::{TestDatabase, TestEnv, TestServer, send};
use reqwest::RequestBuilder;
use serde_json::json;

use super::scenario::{admin, env};
use crate::{extended, metrics::scrape};

/// The number of invented values of each kind.
const INVENTIONS: usize = 10_000;

/// The number of invented models in the fast tier, where each costs a step.
const MODELS: usize = 1_000;

/// The number of concurrent requests.
const AT_ONCE: usize = 32;

/// Upper bound of the number of series for ten models and forty routes.
const BUDGET: usize = 2_400;

fn series(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect()
}

/// A request for an unknown path with an unknown host name.
fn path(server: &TestServer, n: usize) -> RequestBuilder {
    server.get(&format!("/made/up/{n}")).header("Host", format!("host-{n}.example"))
}

fn key(server: &TestServer, n: usize) -> RequestBuilder {
    server.get("/v1/state").header("X-API-Key", format!("made-up-key-{n}"))
}

fn engine(server: &TestServer, n: usize) -> RequestBuilder {
    admin(server.get(&format!("/v1/engines/made-up-{n}/state")))
}

fn model(server: &TestServer, n: usize) -> RequestBuilder {
    let body =
        json!({"model": format!("model-{n}"), "messages": [{"role": "user", "content": "Hi"}]});
    admin(server.post("/v1/chat/completions").json(&body)).header("Host", format!("model-{n}"))
}

/// Sends requests of one kind, all of which have to get the same status.
async fn send_all(
    server: &TestServer,
    made: fn(&TestServer, usize) -> RequestBuilder,
    numbers: std::ops::Range<usize>,
    status: u16,
) {
    let requests = numbers.map(|n| send(made(server, n)));
    let mut answers = stream::iter(requests).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_callers_invent_create_no_series() {
    let database = TestDatabase::sqlite();
    let server = env(&database).with("MLSDM_SLEEP_DURATION", 0).serve().await;
    // some series appear with the first occurrence of their event
    send_all(&server, path, 0..1, 404).await;
    send_all(&server, key, 0..1, 401).await;
    send_all(&server, engine, 0..1, 404).await;
    send_all(&server, model, 0..1, 200).await;
    let before = scrape(&server).await;
    send_all(&server, path, 1..INVENTIONS, 404).await;
    send_all(&server, key, 1..INVENTIONS, 401).await;
    send_all(&server, engine, 1..INVENTIONS, 404).await;
    let models = if extended() { INVENTIONS } else { MODELS };
    send_all(&server, model, 1..models, 200).await;
    let after = scrape(&server).await;
    assert_eq!(series(&before), series(&after));
    assert!(!after.contains("made-up") && !after.contains("example"), "{after}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_series_is_within_the_budget() {
    let database = TestDatabase::sqlite();
    let models: Vec<String> = (1..10).map(|n| format!("model-{n}")).collect();
    let server = TestEnv::new(database.url())
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", "http://127.0.0.1:9/v1")
        .with("MLSDM__LLM__MODEL", "model-0")
        .with("MLSDM__LLM__MODELS", models.join(","))
        .serve()
        .await;
    let text = scrape(&server).await;
    let series = series(&text);
    let named = |label: &str| {
        let values = series.iter().filter_map(|series| {
            let (_, value) = series.split_once(&format!("{label}=\""))?;
            Some(value.split_once('"')?.0)
        });
        values.collect::<BTreeSet<&str>>().len()
    };
    assert!(named("http_route") >= 30, "{} routes", named("http_route"));
    assert_eq!(named("gen_ai_request_model"), 11, "ten and `other`");
    assert!(series.len() < BUDGET, "{} series", series.len());
    server.stop().await;
}
