//! Traces of the real server as a collector receives them.

mod failing;
mod peer;

use std::collections::BTreeSet;

use mlsdm::testkit::{TestDatabase, TestEnv, TestResponse, TestServer, send};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::{
    metrics::scrape,
    otlp::{Sink, Span},
    streaming::frames,
};

/// The trace context of a caller, with the sampled flag.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn env(database: &TestDatabase, sink: &Sink) -> TestEnv {
    TestEnv::new(database.url()).with("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url())
}

fn ask(server: &TestServer, moral_value: f64) -> RequestBuilder {
    let body = json!({"prompt": "My dog is called Rex", "moral_value": moral_value});
    server.post("/v1/generate").json(&body)
}

/// The parts of `traceresponse`: trace id, span id, flags.
fn response(reply: &TestResponse) -> [String; 3] {
    let header = reply.header("traceresponse");
    let parts: Vec<&str> = header.split('-').collect();
    let ["00", trace, span, flags] = parts[..] else { panic!("{header:?}") };
    [trace, span, flags].map(str::to_owned)
}

/// The spans of a trace: the root, then the others in the order of their start.
async fn of_trace(sink: &Sink, trace: &str) -> Vec<Span> {
    let mut spans = sink.spans().await;
    spans.retain(|span| span.trace_id == trace);
    spans.sort_by_key(|span| (span.kind != SpanKind::Server, span.time.0));
    spans
}

/// The name of each span with the name of its parent.
fn tree(spans: &[Span]) -> Vec<(&str, &str)> {
    let name = |id: &str| spans.iter().find(|s| s.id == id).map_or("", |s| s.name.as_str());
    spans.iter().map(|span| (span.name.as_str(), name(&span.parent))).collect()
}

fn find<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"))
}

const ROOT: &str = "POST /v1/generate";

#[tokio::test]
async fn a_step_is_a_tree_of_spans() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let server = env(&database, &sink)
        .with("OTEL_SERVICE_NAME", "our-memory")
        .with("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,team=a%2Cb")
        .serve()
        .await;
    let reply = send(ask(&server, 0.9)).await.unwrap();
    let [trace, root_id, flags] = response(&reply);
    assert_eq!(flags, "01");
    let position = reply.ok()["position"].clone();
    server.stop().await;
    let spans = of_trace(&sink, &trace).await;
    assert_eq!(
        tree(&spans),
        [
            (ROOT, ""),
            ("mlsdm.authenticate", ROOT),
            ("mlsdm.decide", ROOT),
            ("mlsdm.append", "mlsdm.decide"),
            ("mlsdm.embed", ROOT),
            ("mlsdm.retrieve", ROOT),
            ("chat", ROOT),
            ("mlsdm.append", ROOT),
        ]
    );
    let root = &spans[0];
    assert_eq!((root.kind, &root.id), (SpanKind::Server, &root_id));
    for (name, value) in [
        ("http.request.method", json!("POST")),
        ("http.route", json!("/v1/generate")),
        ("http.response.status_code", json!(200)),
        ("url.scheme", json!("http")),
        ("network.protocol.version", json!("1.1")),
    ] {
        assert_eq!(root.get(name), value, "{root:?}");
    }
    assert_eq!(root.resource["service.name"], "our-memory");
    assert_eq!(root.resource["team"], "a,b");
    assert_eq!(root.resource["service.version"], env!("CARGO_PKG_VERSION"));
    let chat = find(&spans, "chat");
    assert_eq!(chat.kind, SpanKind::Client);
    assert_eq!(chat.get("gen_ai.provider.name"), "local_stub");
    assert_eq!(chat.get("gen_ai.response.finish_reasons"), json!(["stop"]));
    assert!(chat.get("gen_ai.usage.output_tokens").as_i64().unwrap() > 0, "{chat:?}");
    let last = &spans[7];
    assert_eq!(
        (last.get("mlsdm.engine"), last.get("mlsdm.position")),
        (json!("default"), position)
    );
    assert!(spans.iter().all(|span| !span.failed && span.time.0 <= span.time.1));
}

#[tokio::test]
async fn a_refusal_is_not_an_error_and_a_failed_model_is_one() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let env = env(&database, &sink)
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", "http://127.0.0.1:9")
        .with("MLSDM__LLM__MODEL", "m-1")
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1);
    let server = env.serve().await;
    let refused = send(ask(&server, 0.1)).await.unwrap();
    let [refused_trace, ..] = response(&refused);
    assert_eq!(refused.ok()["accepted"], false);
    let failed = send(ask(&server, 0.9)).await.unwrap();
    let [failed_trace, ..] = response(&failed);
    failed.is_problem(502, "E601");
    server.stop().await;

    let spans = of_trace(&sink, &refused_trace).await;
    assert!(spans.iter().all(|span| !span.failed), "{spans:#?}");
    let decide = find(&spans, "mlsdm.decide");
    assert_eq!(decide.get("mlsdm.accepted"), json!(false));
    assert_eq!(decide.get("mlsdm.reason"), "morally rejected");
    assert_eq!(tree(&spans).len(), 4, "the model is not called: {spans:#?}");

    let spans = of_trace(&sink, &failed_trace).await;
    let chat = find(&spans, "chat m-1");
    assert!(chat.failed && chat.get("error.type") == "unreachable", "{chat:?}");
    let root = &spans[0];
    assert!(root.failed && root.get("error.type") == "502", "{root:?}");
    assert_eq!(root.get("mlsdm.error_code"), "E601");
}

#[tokio::test]
async fn the_span_of_a_stream_lasts_as_long_as_the_stream() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let server = env(&database, &sink).with("MLSDM__LLM__STUB__WORD_LATENCY_MS", 10).serve().await;
    let body = json!({"prompt": "My dog is called Rex", "moral_value": 0.9, "stream": true});
    assert!(frames(server.post("/v1/generate").json(&body)).await.len() > 5);
    server.stop().await;
    let spans = sink.spans().await;
    let root = find(&spans, ROOT);
    let inside = spans.iter().filter(|span| span.trace_id == root.trace_id);
    let last = inside.map(|span| span.time.1).max().unwrap();
    assert_eq!(last, root.time.1, "{spans:#?}");
    let chat = find(&spans, "chat");
    assert!(chat.time.1 - chat.time.0 > 50_000_000, "the span lasts as long as the stream");
    assert_eq!(chat.parent, root.id);
}

#[tokio::test]
async fn one_trace_id_is_in_spans_logs_events_and_exemplars() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let server = env(&database, &sink).serve().await;
    let parent = format!("00-{TRACE}-{PARENT}-00");
    let reply = send(ask(&server, 0.9).header("traceparent", parent)).await.unwrap();
    let [trace, span_id, _] = response(&reply);
    assert_eq!(trace, TRACE, "the trace of the caller is continued");
    let position = reply.ok()["position"].clone();
    let event = server.read(&format!("/v1/events/{position}")).await;
    assert_eq!(event["trace_id"], TRACE);
    let text = scrape(&server).await;
    let exemplar = format!(" # {{trace_id=\"{TRACE}\"}} ");
    for name in [
        "mlsdm_latency_seconds",
        "mlsdm_generation_duration_seconds",
        "http_server_request_duration_seconds",
    ] {
        let has = |line: &&str| line.starts_with(name) && line.contains(&exemplar);
        assert_eq!(text.lines().filter(has).count(), 1, "{name}\n{text}");
    }
    // the log is written asynchronously, and has the requests of the readiness check too
    server.until_log_has(&format!("\"trace_id\":\"{TRACE}\""), 1).await;
    let lines: Vec<Value> =
        server.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_request = |line: &&Value| line["trace_id"] == TRACE;
    let line = lines.iter().find(of_request).expect("a log line");
    assert_eq!((&line["event_type"], &line["span_id"]), (&json!("http.request"), &json!(span_id)));
    server.stop().await;
    let spans = of_trace(&sink, TRACE).await;
    assert_eq!((spans[0].parent.as_str(), &spans[0].id), (PARENT, &span_id));
    assert_eq!(spans.len(), 8);
}

#[tokio::test]
async fn a_request_has_a_trace_id_even_if_traces_are_off() {
    let database = TestDatabase::sqlite();
    let server = TestEnv::new(database.url()).serve().await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let reply = send(ask(&server, 0.9).header("traceparent", parent)).await.unwrap();
    let [trace, span, flags] = response(&reply);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
    assert_ne!(span, PARENT);
    let made = response(&send(ask(&server, 0.9)).await.unwrap());
    assert!(made[0].len() == 32 && made[1].len() == 16 && made[0] != TRACE, "{made:?}");
    assert!(!scrape(&server).await.contains(" # {"), "an exemplar without traces");
    server.stop().await;
}

#[tokio::test]
async fn only_a_trusted_caller_decides_if_a_trace_is_sampled() {
    for (sampler, trusted, flag, sampled) in [
        ("parentbased_always_off", false, "01", false),
        ("parentbased_always_on", false, "00", true),
        ("parentbased_always_off", true, "01", true),
        ("parentbased_always_on", true, "00", false),
        ("always_off", true, "01", false),
    ] {
        let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
        let server = env(&database, &sink)
            .with("OTEL_TRACES_SAMPLER", sampler)
            .with("MLSDM__TRACES__TRUST_CALLERS", trusted)
            .serve()
            .await;
        let parent = format!("00-{TRACE}-{PARENT}-{flag}");
        let reply = send(ask(&server, 0.9).header("traceparent", parent)).await.unwrap();
        let [trace, _, flags] = response(&reply);
        let expected = if sampled { "01" } else { "00" };
        assert_eq!((trace.as_str(), flags.as_str()), (TRACE, expected), "{sampler} {trusted}");
        let exemplars = scrape(&server).await.contains(TRACE);
        assert_eq!(exemplars, sampled, "{sampler} {trusted}");
        server.stop().await;
        let spans = of_trace(&sink, TRACE).await;
        assert_eq!(!spans.is_empty(), sampled, "{sampler} {trusted}");
    }
}

#[tokio::test]
async fn providers_receive_the_trace_context_only_if_configured() {
    for sent_on in [false, true] {
        let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
        let provider = MockServer::start().await;
        let answer = json!({"choices": [{"message": {"content": "Noted, thank you very much."}}]});
        let answer = ResponseTemplate::new(200).set_body_json(answer);
        Mock::given(any()).respond_with(answer).mount(&provider).await;
        let server = env(&database, &sink)
            .with("LLM_BACKEND", "openai")
            .with("MLSDM__LLM__OPENAI__BASE_URL", provider.uri())
            .with("MLSDM__LLM__MODEL", "m-1")
            .with("MLSDM__TRACES__TO_PROVIDERS", sent_on)
            .serve()
            .await;
        let asked = ask(&server, 0.9).header("tracestate", "geheim=1");
        let [trace, ..] = response(&send(asked).await.unwrap());
        server.stop().await;
        let requests = provider.received_requests().await.unwrap();
        let headers = &requests[0].headers;
        assert!(!format!("{headers:?}").contains("geheim"));
        let chat = find(&of_trace(&sink, &trace).await, "chat m-1").id.clone();
        let sent = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(sent, sent_on.then(|| format!("00-{trace}-{chat}-01")));
    }
}

/// Part of everything that a caller or a provider sends.
const MARKER: &str = "swordfish";

#[tokio::test]
async fn prompts_and_answers_are_in_no_trace() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let provider = MockServer::start().await;
    let echo = json!({"error": {"message": MARKER}});
    let failing = ResponseTemplate::new(500).set_body_json(echo).insert_header("x-e", MARKER);
    Mock::given(any()).respond_with(failing).up_to_n_times(1).mount(&provider).await;
    let answer = json!({"choices": [{"message": {"content": format!("It is {MARKER}, surely.")}}]});
    let answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(any()).respond_with(answer).mount(&provider).await;
    let server = env(&database, &sink)
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", provider.uri())
        .with("MLSDM__LLM__MODEL", "m-1")
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1)
        .with("OTEL_EXPORTER_OTLP_HEADERS", "x-key=geheim")
        .with("LOG_LEVEL", "DEBUG")
        // even at the most verbose level
        .with("RUST_LOG", "trace")
        .serve()
        .await;
    let marked = |path: &str| {
        server
            .post(path)
            .header("x-mlsdm-end-user", MARKER)
            .header("idempotency-key", MARKER)
            .header("authorization", format!("Bearer {MARKER}"))
            .header("user-agent", MARKER)
            .header("tracestate", format!("a={MARKER}"))
            .header("baggage", format!("a={MARKER}"))
    };
    let prompt = json!({"prompt": MARKER, "moral_value": 0.9, "metadata": {"note": MARKER}});
    let chat = json!({"model": MARKER, "messages": [{"role": "user", "content": MARKER}]});
    let mut requests = Vec::new();
    for _ in 0..2 {
        requests.push(marked(&format!("/v1/generate?q={MARKER}")).json(&prompt));
    }
    requests.push(marked("/v1/chat/completions").header("idempotency-key", "2").json(&chat));
    requests.push(marked("/v1/messages").json(&chat));
    requests.push(marked(&format!("/v1/{MARKER}")).json(&prompt));
    requests.push(marked(&format!("/v1/engines/{MARKER}/generate")).json(&prompt));
    let method = reqwest::Method::from_bytes(b"SWORDFISH").unwrap();
    requests.push(server.request(method, "/v1/generate"));
    let mut traces = BTreeSet::new();
    for request in requests {
        let [trace, ..] = response(&send(request).await.unwrap());
        traces.insert(trace);
    }
    server.until_logged("http.request", traces.len()).await;
    let log = server.log();
    server.stop().await;
    let spans = sink.spans().await;
    for trace in &traces {
        assert!(spans.iter().any(|span| span.trace_id == *trace), "{trace}");
    }
    assert!(
        spans.iter().any(|span| span.name == "chat other"),
        "an unknown model name: {spans:#?}"
    );
    let bytes = String::from_utf8_lossy(&sink.bytes().await).to_lowercase();
    assert!(bytes.contains("geheim"), "the key for the collector is sent");
    let marked = spans.iter().find(|span| format!("{span:?}").to_lowercase().contains(MARKER));
    assert!(!bytes.contains(MARKER), "{marked:#?}");
    // the log names the requested model and nothing else from callers
    let log = log.to_lowercase().replace(&format!("\"model\":\"{MARKER}\""), "");
    assert!(!log.contains("geheim") && !log.contains(MARKER), "{log}");
}
