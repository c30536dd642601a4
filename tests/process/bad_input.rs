//! Invalid requests: each mistake has its own error code, and no event is appended.

use reqwest::{RequestBuilder, header::HeaderValue};
use serde_json::{Value, json};

use mlsdm::testkit::{TestDatabase, TestEnv, TestServer, on_every_database, send};

/// The configured limit of a request body, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// A name, an invalid request, and the status and the code of its response.
type Case = (String, RequestBuilder, u16, &'static str);

on_every_database!(TestDatabase: invalid_requests_are_refused_and_append_nothing);

async fn invalid_requests_are_refused_and_append_nothing(database: TestDatabase) {
    let env = TestEnv::new(database.url()).with("MLSDM__LIMITS__BODY_BYTES", BODY_MAX);
    let server = env.serve().await;
    server.say("ann", "My dog is called Rex").await;
    let before = server.head().await;
    let cases: Vec<Case> = [
        fields(&server),
        bodies(&server),
        media_types(&server),
        headers(&server),
        engines(&server),
        queries(&server),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (name, request, status, code) in cases {
        let reply = send(request).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = (reply.status, reply.body["code"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code), "{name}: {reply:?}");
        reply.is_problem(status, code);
        assert!(
            !reply.body.to_string().contains("swordfish"),
            "{name}: the response repeats the prompt"
        );
        assert_eq!(server.head().await, before, "{name} appended an event");
    }
    assert!(!server.log().contains("swordfish"), "a prompt in the log");
    invalid_ids_are_replaced(&server).await;
    server.stop().await;
}

fn generate(server: &TestServer) -> RequestBuilder {
    server.post("/v1/generate")
}

/// A valid request with one more field.
fn with(field: &str, value: Value) -> Value {
    let mut body = json!({"prompt": "swordfish", "moral_value": 0.9});
    body[field] = value;
    body
}

fn fields(server: &TestServer) -> Vec<Case> {
    let strings = |count: usize| (0..count).map(|n| (format!("k{n}"), json!("v"))).collect();
    let cases = [
        (with("prompt", json!("")), "E103"),
        (with("prompt", json!(" \t\n\u{a0}\u{2003}")), "E103"),
        (with("prompt", json!("x".repeat(10_001))), "E104"),
        (with("prompt", json!("ä".repeat(10_001))), "E104"),
        (with("prompt", json!(7)), "E102"),
        (with("prompt", Value::Null), "E102"),
        (with("prompt", json!(["swordfish"])), "E102"),
        (with("moral_value", json!(-0.000_001)), "E105"),
        (with("moral_value", json!(1.000_001)), "E105"),
        (with("moral_value", json!(1e300)), "E105"),
        (with("moral_value", json!("NaN")), "E102"),
        (with("moral_value", json!("0.9")), "E102"),
        (with("moral_value", json!(true)), "E102"),
        (with("max_tokens", json!(0)), "E106"),
        (with("max_tokens", json!(4097)), "E106"),
        (with("max_tokens", json!(-1)), "E106"),
        (with("max_tokens", json!(1.5)), "E102"),
        (with("max_tokens", json!(5_000_000_000_u64)), "E106"),
        (with("context_top_k", json!(21)), "E107"),
        (with("context_top_k", json!(-1)), "E107"),
        (with("stream", json!("yes")), "E102"),
        (with("temperature", json!(0.5)), "E102"),
        (with("Prompt", json!("swordfish")), "E102"),
        (with("metadata", Value::Object(strings(17))), "E108"),
        (with("metadata", json!({"k": "v".repeat(100_000 / 2)})), "E108"),
        (with("metadata", json!({"k": 7})), "E102"),
        (with("metadata", json!("k=v")), "E102"),
        (json!({"moral_value": 0.9}), "E102"),
        (json!({}), "E102"),
        (json!([]), "E102"),
        (json!("swordfish"), "E102"),
        (Value::Null, "E102"),
    ];
    let case = |(body, code): (Value, &'static str)| {
        let name: String = body.to_string().chars().take(80).collect();
        (name, generate(server).json(&body), 400, code)
    };
    cases.into_iter().map(case).collect()
}

fn bodies(server: &TestServer) -> Vec<Case> {
    let typed = || generate(server).header("Content-Type", "application/json");
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let huge = json!({"prompt": "x".repeat(BODY_MAX), "moral_value": 0.9}).to_string();
    let cases: [(&str, Vec<u8>, u16, &'static str); 11] = [
        ("empty", Vec::new(), 400, "E101"),
        ("cut", br#"{"prompt": "swordfish""#.to_vec(), 400, "E101"),
        ("two", br#"{"prompt": "swordfish"}{}"#.to_vec(), 400, "E101"),
        ("single quotes", b"{'prompt': 'swordfish'}".to_vec(), 400, "E101"),
        ("NaN", br#"{"prompt": "swordfish", "moral_value": NaN}"#.to_vec(), 400, "E101"),
        ("infinite", br#"{"prompt": "swordfish", "moral_value": Infinity}"#.to_vec(), 400, "E101"),
        ("overflow", br#"{"prompt": "swordfish", "moral_value": 1e999}"#.to_vec(), 400, "E101"),
        ("not UTF-8", b"{\"prompt\": \"swordfish \xff\"}".to_vec(), 400, "E101"),
        ("half a surrogate", br#"{"prompt": "swordfish \ud800"}"#.to_vec(), 400, "E101"),
        ("twice", br#"{"prompt": "swordfish", "prompt": "again"}"#.to_vec(), 400, "E102"),
        ("huge", huge.into_bytes(), 413, "E904"),
    ];
    let mut all: Vec<Case> = cases
        .into_iter()
        .map(|(name, body, status, code)| (name.to_owned(), typed().body(body), status, code))
        .collect();
    // the parser stops at its recursion limit, by which time the value has the wrong type
    all.push(("deep".to_owned(), typed().body(deep), 400, "E102"));
    all
}

fn media_types(server: &TestServer) -> Vec<Case> {
    let body = r#"{"prompt": "swordfish", "moral_value": 0.9}"#;
    let typed = |kind: &str| {
        let request = generate(server).header("Content-Type", kind).body(body);
        (format!("media type {kind}"), request, 415, "E903")
    };
    let kinds = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "junk"];
    let mut cases: Vec<Case> = kinds.into_iter().map(typed).collect();
    cases.push(("no media type".to_owned(), generate(server).body(body), 415, "E903"));
    let other = |method: &str, request| (format!("{method} generate"), request, 405, "E902");
    cases.push(other("GET", server.get("/v1/generate")));
    cases.push(("no such path".to_owned(), server.get("/nothing"), 404, "E901"));
    cases
}

fn headers(server: &TestServer) -> Vec<Case> {
    let body = json!({"prompt": "swordfish", "moral_value": 0.9});
    let bytes = |value: &[u8]| HeaderValue::from_bytes(value).unwrap();
    let cases = [
        ("X-MLSDM-End-User", bytes(b"")),
        ("X-MLSDM-End-User", bytes(&[b'a'; 513])),
        ("X-MLSDM-End-User", bytes(b"\xff\xfe")),
        ("Idempotency-Key", bytes(b"")),
        ("Idempotency-Key", bytes(&[b'k'; 1_000])),
        ("Idempotency-Key", bytes(b"\xff\xfe")),
    ];
    let case = |(name, value): (&str, HeaderValue)| {
        let request = generate(server).header(name, value.clone()).json(&body);
        (format!("{name}: {value:?}"), request, 400, "E112")
    };
    cases.into_iter().map(case).collect()
}

fn engines(server: &TestServer) -> Vec<Case> {
    let body = json!({"prompt": "swordfish", "moral_value": 0.9});
    let ask = |id: &str| server.post(&format!("/v1/engines/{id}/generate")).json(&body);
    let long = "e".repeat(65);
    let mut cases: Vec<Case> = ["Default", "a.b", "a%20b", "%C3%A4", "a%2Fb", &long]
        .into_iter()
        .map(|id| (format!("engine {id}"), ask(id), 400, "E109"))
        .collect();
    cases.push(("unknown engine".to_owned(), ask("nowhere"), 404, "E408"));
    let create = |body: Value| server.post("/v1/engines").json(&body);
    let policy = |policy: Value| create(json!({"engine_id": "fresh", "policy": policy}));
    let more = [
        ("bad new id", create(json!({"engine_id": "No Good"})), 400, "E109"),
        ("no id", create(json!({})), 400, "E102"),
        ("existing", create(json!({"engine_id": "default"})), 409, "E409"),
        ("policy of junk", policy(json!({"capacity": "many"})), 422, "E801"),
        ("unknown policy", policy(json!({"generosity": 1})), 422, "E801"),
        ("capacity 0", policy(json!({"capacity": 0})), 422, "E801"),
    ];
    let named =
        |(name, request, status, code): (&str, _, _, _)| (name.to_owned(), request, status, code);
    cases.extend(more.into_iter().map(named));
    cases
}

fn queries(server: &TestServer) -> Vec<Case> {
    let bad = [
        "/v1/events?limit=501",
        "/v1/events?limit=0",
        "/v1/events?limit=many",
        "/v1/events?after=-1",
        "/v1/events?after=99999999999999999999",
        "/v1/events?colour=red",
        "/v1/events?from=yesterday",
        "/v1/events?trace_id=junk",
        "/v1/state?at_position=x",
        "/v1/state?at_position=-1",
        "/v1/state?at_time=yesterday",
        "/v1/state?at_position=1&at_time=2026-01-31T12:00:00Z",
        "/v1/events/x",
    ];
    let case = |path: &&str| ((*path).to_owned(), server.get(path), 400, "E110");
    let mut cases: Vec<Case> = bad.iter().map(case).collect();
    let beyond = [
        "/v1/events/99999",
        "/v1/state?at_position=99999",
        "/v1/state?at_time=1999-12-31T23:59:59Z",
    ];
    cases.extend(beyond.map(|path| (path.to_owned(), server.get(path), 404, "E410")));
    cases
}

/// Invalid ids for tracing do not fail a request: the server replaces them.
async fn invalid_ids_are_replaced(server: &TestServer) {
    let junk = "not an id \u{e9}".as_bytes();
    let long = "r".repeat(129);
    for id in [HeaderValue::from_bytes(junk).unwrap(), HeaderValue::from_str(&long).unwrap()] {
        let request = server.ask("default", "ann", "Hello there").header("X-Request-ID", &id);
        let reply = send(request.header("traceparent", "00-junk-01")).await.unwrap();
        let given = reply.header("x-request-id").to_owned();
        assert!(!given.is_empty() && given.as_bytes() != id.as_bytes(), "{reply:?}");
        assert_eq!(reply.ok()["request_id"], given.as_str());
    }
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let request = server.ask("default", "ann", "Hello").header("X-Request-ID", "my-own.id_1");
    let reply = send(request.header("traceparent", parent)).await.unwrap();
    let answer = reply.ok();
    assert_eq!(answer["request_id"], "my-own.id_1");
    let found = server.read(&format!("/v1/events?trace_id={trace}")).await;
    let events = found["events"].as_array().unwrap();
    assert_eq!(events.len(), 2, "{found}");
    assert!(events.iter().all(|event| event["request_id"] == answer["id"]), "{found}");
    assert!(!found.to_string().contains("my-own.id_1"), "the client's id is sealed: {found}");
}
