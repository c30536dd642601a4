//! The log of the real server in all sinks: complete lines, no private data, no blocked requests.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::body_string_contains};

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer, http_client, send};

use crate::{
    asked::asked,
    loki::{ask, fake, pushed},
    metrics::value,
};

/// Part of everything that is private.
const MARKER: &str = "geheim";

/// The five queries of the deployment guide for lines that a log agent ships.
const SHIPPED: [&str; 5] = [
    r#"{job="mlsdm"}"#,
    r#"{job="mlsdm"} | json | level="ERROR""#,
    r#"{job="mlsdm"} | json | error_code=~"E3..""#,
    r#"{job="mlsdm"} | json | request_id="req-12345""#,
    r#"{job="mlsdm"} | json | latency_ms > 500"#,
];

/// The same queries for lines that the server pushes to Loki.
const PUSHED: [&str; 5] = [
    r#"{job="mlsdm-direct"}"#,
    r#"{job="mlsdm-direct", level="error"}"#,
    r#"{job="mlsdm-direct"} | json | error_code=~"E3..""#,
    r#"{job="mlsdm-direct"} | json | request_id="req-12345""#,
    r#"{job="mlsdm-direct"} | json | latency_ms > 500"#,
];

/// A provider that answers, is slow, or fails with an error that quotes the prompt.
async fn provider() -> MockServer {
    let server = MockServer::start().await;
    let answer = json!({
        "id": "c1", "object": "chat.completion", "created": 0, "model": "m-1",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": format!("{MARKER} answer")},
        }],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    });
    let good = ResponseTemplate::new(200).set_body_json(answer);
    let quoting = format!("I will not answer: {MARKER} prompt");
    let bad = ResponseTemplate::new(500).set_body_json(json!({"error": {"message": quoting}}));
    Mock::given(body_string_contains("slowly"))
        .respond_with(good.clone().set_delay(Duration::from_millis(700)))
        .with_priority(1)
        .mount(&server)
        .await;
    let failing = Mock::given(body_string_contains("fail")).respond_with(bad);
    failing.with_priority(2).mount(&server).await;
    Mock::given(wiremock::matchers::any()).respond_with(good).mount(&server).await;
    server
}

fn env(url: &str, provider: &MockServer, loki: &MockServer, file: &Path) -> TestEnv {
    TestEnv::new(url)
        .with("LLM_BACKEND", "openai")
        .with("OPENAI_API_KEY", "geheim-model-key")
        .with("MLSDM__LLM__MODEL", "m-1")
        .with("MLSDM__LLM__OPENAI__BASE_URL", provider.uri())
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1)
        .with("MLSDM_LOKI_URL", loki.uri())
        .with("MLSDM__LOGGING__FILE", file.display())
        .with("MLSDM_ENV", "test")
}

fn step(server: &TestServer, id: &str, prompt: &str, moral_value: f64) -> RequestBuilder {
    let body = json!({"prompt": prompt, "moral_value": moral_value});
    server.post("/v1/generate").header("x-request-id", id).json(&body)
}

/// A line with the labels of a log agent.
fn shipped(line: &str) -> Value {
    let parsed: Value = serde_json::from_str(line).unwrap();
    let labels = json!({
        "job": "mlsdm", "service": parsed["service"], "env": parsed["env"], "instance": "mlsdm-1"
    });
    let mut metadata = serde_json::Map::new();
    for name in ["trace_id", "request_id"] {
        if let Some(id) = parsed.get(name) {
            metadata.insert(name.to_owned(), id.clone());
        }
    }
    json!({"labels": labels, "metadata": metadata, "line": line})
}

/// The event types and request ids of the lines that each query selects.
fn selected(queries: &[&str], lines: &[Value]) -> Vec<Vec<String>> {
    let queries: Vec<String> = queries.iter().map(|query| (*query).to_owned()).collect();
    let mut found = Vec::new();
    for answer in asked(&queries, &json!(lines)) {
        let chosen = answer["selected"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let name = |n: &Value| {
            let line = lines[n.as_u64().unwrap() as usize]["line"].as_str().unwrap();
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("event_type"), text("request_id"))
        };
        found.push(chosen.iter().map(name).collect());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_the_guide_select_the_right_lines() {
    let (provider, loki) = (provider().await, fake(ResponseTemplate::new(204)).await);
    let (folder, database) = (tempfile::tempdir().unwrap(), TestDatabase::sqlite());
    let file = folder.path().join("logs/app.log");
    let server = env(database.url(), &provider, &loki, &file).serve().await;
    for (id, prompt, moral_value, status) in [
        ("req-good", "Hello", 0.9, 200),
        ("req-12345", "Hello again", 0.9, 200),
        ("req-refused", "Hello", 0.1, 200),
        ("req-failed", "Please fail", 0.9, 502),
        ("req-slow", "Answer slowly", 0.9, 200),
        ("req-blank", " ", 0.9, 400),
    ] {
        assert_eq!(
            send(step(&server, id, prompt, moral_value)).await.unwrap().status,
            status,
            "{id}"
        );
    }
    server.until_logged("http.request", 6).await;
    server.stop().await;
    let file = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = file.lines().map(shipped).collect();
    let expected = [
        vec!["http.fault req-failed".to_owned()],
        vec!["http.request req-refused".to_owned()],
        vec!["http.request req-12345".to_owned()],
        slow_requests(&file),
    ];
    let found = selected(&SHIPPED, &lines);
    assert_eq!(found[0].len(), lines.len());
    assert_eq!(found[1..], expected, "{file}");
    let direct = pushed(&loki).await;
    assert_eq!(direct.len(), lines.len(), "Loki has as many lines as the file");
    let found = selected(&PUSHED, &direct);
    assert_eq!(found[0].len(), direct.len());
    assert_eq!(found[1..], expected);
    has_all_fields(&file);
}

/// The lines whose latency exceeds 500 ms: the slow request's, and others' on a busy machine.
fn slow_requests(log: &str) -> Vec<String> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let slow = lines.filter(|line| line["latency_ms"].as_f64() > Some(500.0));
    slow.map(|line| {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("event_type"), text("request_id"))
    })
    .collect()
}

/// Asserts that the lines of an answer, of a refusal and of a failure have their fields.
fn has_all_fields(log: &str) {
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: &str| {
        let mut found = lines
            .iter()
            .filter(|line| line["request_id"] == id && line["event_type"] == "http.request");
        let line = found.next().unwrap_or_else(|| panic!("no line of {id}"));
        assert!(found.next().is_none(), "one line of {id}");
        line
    };
    let everywhere = [
        "timestamp",
        "level",
        "message",
        "event_type",
        "request_id",
        "request_uuid",
        "trace_id",
        "latency_ms",
        "route",
        "method",
        "status",
        "service",
        "version",
        "env",
        "engine",
        "prompt_length",
        "accepted",
        "step",
    ];
    let of_steps = ["moral_value", "moral_threshold", "phase", "position"];
    let of_answers = ["provider", "model", "input_tokens", "output_tokens"];
    for name in everywhere.iter().chain(&of_steps).chain(&of_answers) {
        assert!(!of("req-good")[*name].is_null(), "{name}: {}", of("req-good"));
    }
    let refused = of("req-refused");
    for name in everywhere.iter().chain(&of_steps) {
        assert!(!refused[*name].is_null(), "{name}: {refused}");
    }
    assert_eq!((&refused["error_code"], &refused["reason"]), (&json!("E301"), &json!("moral")));
    assert_eq!((&refused["accepted"], &refused["status"]), (&json!(false), &json!(200)));
    let failed = of("req-failed");
    for name in everywhere {
        assert!(!failed[name].is_null(), "{name}: {failed}");
    }
    assert_eq!(failed["error_code"], "E601");
    assert!(failed["reason"].is_string());
    assert_eq!(
        (&of("req-good")["prompt_length"], &of("req-good")["env"]),
        (&json!(5), &json!("test"))
    );
    assert!(of("req-slow")["latency_ms"].as_f64().unwrap() > 500.0);
    assert_eq!(of("req-blank")["error_code"], "E103");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_data_is_in_no_sink_at_any_level() {
    let (provider, loki) = (provider().await, fake(ResponseTemplate::new(204)).await);
    let (folder, database) = (tempfile::tempdir().unwrap(), TestDatabase::sqlite());
    let file = folder.path().join("app.log");
    let env = env(database.url(), &provider, &loki, &file).with("LOG_LEVEL", "TRACE");
    let server = env.serve().await;
    let private = |prompt: &str| {
        let request = step(&server, "r", &format!("{MARKER} prompt, {prompt}"), 0.9);
        let request = request.header("authorization", format!("Bearer {MARKER}"));
        let request = request.header("x-mlsdm-end-user", format!("{MARKER}-user"));
        request.header("cookie", format!("a={MARKER}")).query(&[("q", MARKER)])
    };
    for (prompt, status) in [("please", 200), ("fail", 502), ("slowly", 200)] {
        assert_eq!(send(private(prompt)).await.unwrap().status, status, "{prompt}");
    }
    let chat = json!({"messages": [{"role": "user", "content": MARKER}], "user": MARKER});
    assert_eq!(send(server.post("/v1/chat/completions").json(&chat)).await.unwrap().status, 200);
    let broken = server.post("/v1/generate").header("content-type", "application/json");
    send(broken.body(format!("{{\"prompt\": \"{MARKER}"))).await.unwrap().is_problem(400, "E101");
    let unknown = server.get(&format!("/v1/{MARKER}"));
    send(unknown.header("x-request-id", format!("a {MARKER}"))).await.unwrap();
    server.until_logged("http.request", 6).await;
    let stdout = server.log();
    server.stop().await;
    let file = fs::read_to_string(&file).unwrap();
    let direct = json!(pushed(&loki).await).to_string();
    for (sink, text) in [("stdout", &stdout), ("file", &file), ("loki", &direct)] {
        assert!(text.contains("E601"), "{sink} has no lines");
        assert!(!text.to_lowercase().contains(MARKER), "{sink}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_goes_on_while_nobody_reads_its_standard_output() {
    let database = TestDatabase::sqlite();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // the shell opens the pipe for reading, and the server that replaces it never reads
    let unread = "mkfifo unread && exec 3<>unread && exec \"$@\" >unread";
    let env = TestEnv::new(database.url()).wrapped(unread).with("METRICS_PORT", port);
    let server = env.serve().await;
    ask(&server, "/health/live", 10_000).await;
    let address = format!("http://127.0.0.1:{port}/metrics");
    let text = reqwest::get(address).await.unwrap().text().await.unwrap();
    let labels = "signal=\"logs\",sink=\"stdout\",reason=\"queue_full\"";
    let lost = value(&text, &format!("mlsdm_telemetry_dropped_total{{{labels}}}"));
    let lines = value(&text, "mlsdm_log_messages_total{level=\"INFO\"}");
    // the others are in the pipe, in the writer's buffer or in the queue
    assert!(lost > 500.0 && lines - lost >= 8_192.0, "{lost} of {lines}");
    // the last flush has a limit, or this would hang
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_changes_while_the_server_runs() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    let put = |level: &str| {
        let url = format!("{}/v1/admin/log-level", server.base());
        http_client().put(url).json(&json!({"level": level}))
    };
    assert_eq!(server.read("/v1/admin/log-level").await["level"], "INFO");
    assert_eq!(send(put("ERROR")).await.unwrap().ok(), json!({"level": "ERROR"}));
    server.until_logged("log.level_changed", 1).await;
    let quiet = server.get("/v1/state").header("x-request-id", "not-heard");
    send(quiet).await.unwrap().ok();
    for wrong in ["LOUD", "", "geheim"] {
        let refused = send(put(wrong)).await.unwrap();
        refused.is_problem(400, "E102");
        assert!(!refused.body.to_string().contains("geheim"));
    }
    assert_eq!(send(put("warning")).await.unwrap().ok(), json!({"level": "WARNING"}));
    assert_eq!(send(put("INFO")).await.unwrap().ok(), json!({"level": "INFO"}));
    send(server.get("/v1/state").header("x-request-id", "heard")).await.unwrap().ok();
    server.until_logged("log.level_changed", 3).await;
    let log = server.log();
    assert!(!log.contains("not-heard"), "{log}");
    assert!(log.contains("\"request_id\":\"heard\""), "{log}");
    server.stop().await;
}

#[tokio::test]
async fn a_log_file_that_cannot_be_opened_fails_the_start_with_the_remedy() {
    let database = TestDatabase::sqlite();
    let file = "/proc/nowhere/app.log";
    let run = TestEnv::new(database.url()).with("MLSDM__LOGGING__FILE", file).run(&["serve"]).await;
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("logging.file"), "{run:?}");
}
