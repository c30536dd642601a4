//! Stacks with more services; the extended tier.

use mlsdm::testkit::{eventually, http_client, send};

use crate::containers::{generate, get, stack::Stack, standins};

/// Ten requests are seen as log lines, as a metric in Prometheus, and an alert reaches Alertmanager.
#[tokio::test]
async fn requests_are_seen_in_logs_metrics_and_alerts() {
    standins::prometheus();
    let stack = Stack::new();
    stack.secrets();
    stack.up(&["neuro-engine", "prometheus", "alertmanager"]);
    let url = stack.url("API_PORT");
    for number in 0..10 {
        generate(&url, &stack.key(), &format!("Request {number}")).await.ok();
    }
    let lines = stack.compose(&["logs", "--no-log-prefix", "neuro-engine"]).exits(0).stdout;
    let is_step = |line: &&str| line.contains("http.request") && line.contains("\"/generate\"");
    assert_eq!(lines.lines().filter(is_step).count(), 10, "{lines}");

    let query = format!("{}/api/v1/query?query=mlsdm_requests_total", stack.url("PROMETHEUS_PORT"));
    eventually("ten requests in Prometheus", async || {
        let found = get(&query).await.map_err(|error| error.to_string())?.body;
        let value = found["data"]["result"][0]["value"][1].as_str().unwrap_or_default().to_owned();
        if value == "10" { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    let alerts = format!("{}/api/v2/alerts", stack.url("ALERTMANAGER_PORT"));
    eventually("an alert in Alertmanager", async || {
        let found = get(&alerts).await.map_err(|error| error.to_string())?.body.to_string();
        if found.contains("Watchdog") { Ok(()) } else { Err(found) }
    })
    .await;
}

/// One server for each engine, and all servers in use; a server that is away is replaced.
#[tokio::test]
async fn nginx_sends_each_engine_to_one_of_the_servers() {
    standins::nginx();
    let stack = Stack::new();
    stack.write("deploy/mlsdm.env", "DISABLE_RATE_LIMIT=true\n");
    stack.secrets();
    stack.up(&["--scale", "replica=2", "neuro-engine", "replica", "nginx"]);
    let url = stack.url("NGINX_PORT");
    let key = stack.read("deploy/secrets/admin_api_key");
    let servers = [("neuro-engine", 1), ("replica", 1), ("replica", 2)];
    let served = |engine: &str| {
        let field = format!("\"engine\":\"{engine}\"");
        let is_step = |line: &str| line.contains("\"http.request\"") && line.contains(&field);
        let by = |server: &&(&str, usize)| {
            stack.container(server.0, server.1).logs().lines().any(is_step)
        };
        servers
            .iter()
            .filter(by)
            .map(|(name, number)| format!("{name}-{number}"))
            .collect::<Vec<_>>()
    };
    let ask = async |engine: &str| {
        let request = http_client().post(format!("{url}/v1/engines/{engine}/generate"));
        let body = serde_json::json!({"prompt": "Hello", "moral_value": 0.8});
        send(request.header("X-API-Key", &key).json(&body)).await.unwrap()
    };
    let mut used = std::collections::BTreeSet::new();
    for number in 0..12 {
        let engine = format!("engine-{number}");
        let body = serde_json::json!({"engine_id": engine});
        let created = http_client().post(format!("{url}/v1/engines")).json(&body);
        send(created.header("X-API-Key", &key)).await.unwrap().ok();
        for _ in 0..3 {
            ask(&engine).await.ok();
        }
        let by = served(&engine);
        assert_eq!(by.len(), 1, "{engine}: {by:?}");
        used.extend(by);
    }
    assert_eq!(used.len(), servers.len(), "{used:?}");
    stack.compose(&["stop", "replica"]).exits(0);
    for number in 0..12 {
        ask(&format!("engine-{number}")).await.ok();
    }
}
