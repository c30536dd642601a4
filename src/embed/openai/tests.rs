use serde_json::{Value, json};
use tokio::net::TcpListener;
use wiremock::{
    Mock, MockServer, Request as Received, ResponseTemplate,
    matchers::{header, method, path},
};

use super::*;
use crate::embed::Embedder;

fn settings(base_url: &str) -> Settings {
    Settings {
        base_url: base_url.to_owned(),
        model: "small".to_owned(),
        api_key: Some("geheim".to_owned().into()),
        dimension: 2,
        timeout: Duration::from_secs(20),
    }
}

fn embedder(server: &MockServer) -> Embedder {
    Embedder::openai(&settings(&format!("{}/v1/", server.uri()))).unwrap()
}

async fn server(answer: impl wiremock::Respond + 'static) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/embeddings"))
        .and(header("authorization", "Bearer geheim"))
        .respond_with(answer)
        .mount(&server)
        .await;
    server
}

/// Returns the length of each text, in reverse order.
fn lengths(received: &Received) -> ResponseTemplate {
    let body: Value = received.body_json().unwrap();
    assert_eq!(body["model"], "small");
    let row = |(index, text): (usize, &Value)| {
        json!({ "object": "embedding", "index": index,
            "embedding": [1.0, text.as_str().unwrap().len()] })
    };
    let texts = body["input"].as_array().unwrap();
    let data: Vec<Value> = texts.iter().enumerate().map(row).rev().collect();
    ResponseTemplate::new(200).set_body_json(json!({ "object": "list", "data": data }))
}

fn of_length(length: usize) -> UnitVector {
    UnitVector::normalise(&[1.0, length as f32], 2).unwrap()
}

/// The error for a server that returns this response to all requests.
async fn error(answer: ResponseTemplate) -> EmbedError {
    embedder(&server(answer).await).embed("a secret text").await.unwrap_err()
}

async fn error_of(body: &str) -> EmbedError {
    error(ResponseTemplate::new(200).set_body_raw(body, "application/json")).await
}

#[tokio::test]
async fn vectors_are_returned_in_the_order_of_the_texts() {
    let server = server(lengths).await;
    let vectors = embedder(&server).embed_all(&["a", "bbb", "cc"]).await.unwrap();
    assert_eq!(vectors, [1, 3, 2].map(of_length));
    assert_eq!(embedder(&server).embed("four").await.unwrap(), of_length(4));
    assert_eq!(embedder(&server).id(), "openai:small");
}

#[tokio::test]
async fn many_texts_are_sent_in_batches_bounded_in_number_and_bytes() {
    let server = server(lengths).await;
    let texts: Vec<String> = (0..150).map(|n| "x".repeat(n + 1)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = embedder(&server).embed_all(&texts).await.unwrap();
    assert!(vectors.into_iter().eq((1..=150).map(of_length)));
    let sizes = |received: Vec<Received>| -> Vec<usize> {
        let size =
            |r: &Received| r.body_json::<Value>().unwrap()["input"].as_array().unwrap().len();
        received.iter().map(size).collect()
    };
    assert_eq!(sizes(server.received_requests().await.unwrap()), [64, 64, 22]);

    let (half, whole) = ("x".repeat(BATCH_BYTES / 2), "x".repeat(BATCH_BYTES + 1));
    let long = [&*half, &half, "x", &whole, "x"].map(str::to_owned);
    assert_eq!(batches(&long).map(<[String]>::len).collect::<Vec<_>>(), [2, 1, 1, 1]);
    assert_eq!(batches(&[]).count(), 0);
}

#[tokio::test]
async fn an_invalid_response_is_refused() {
    let row = |index: usize, numbers: &str| format!(r#"{{"index":{index},"embedding":{numbers}}}"#);
    let data = |rows: &[String]| format!(r#"{{"data":[{}]}}"#, rows.join(","));
    let dimension = error_of(&data(&[row(0, "[1,2,3]")])).await;
    assert_eq!(dimension, EmbedError::Dimension { expected: 2, actual: 3 });
    assert!(dimension.to_string().contains("set embeddings.dimension to 3"), "{dimension}");
    // beyond the largest 32-bit number
    assert_eq!(error_of(&data(&[row(0, "[1,1e39]")])).await, EmbedError::NotFinite);
    assert_eq!(error_of(&data(&[row(0, "[0,0]")])).await, EmbedError::NoDirection);
    let malformed = [
        data(&[]),
        data(&[row(0, "[1,2]"), row(1, "[1,2]")]),
        data(&[row(1, "[1,2]")]),
        // JSON has no such number
        data(&[row(0, "[1,NaN]")]),
        data(&[row(0, "[1,null]")]),
        data(&[row(0, r#""AACAPwAAAEA=""#)]),
        data(&[r#"{"embedding":[1,2]}"#.to_owned()]),
        "{}".to_owned(),
        "a secret text".to_owned(),
        String::new(),
        format!("{{\"data\":[{}", " ".repeat(RESPONSE_BYTES + 1000)),
    ];
    for body in malformed {
        let error = error_of(&body).await;
        assert_eq!(error.code(), "malformed", "{error}: {body:.100}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
    let doubled = |_: &Received| {
        let row = json!({ "index": 0, "embedding": [1, 2] });
        ResponseTemplate::new(200).set_body_json(json!({ "data": [row, row] }))
    };
    let server = server(doubled).await;
    let error = embedder(&server).embed_all(&["a", "b"]).await.unwrap_err();
    assert_eq!(error.code(), "malformed");
}

#[tokio::test]
async fn statuses_have_codes_and_bodies_are_not_passed_on() {
    let cases = [
        (401, "unauthorized"),
        (403, "unauthorized"),
        (429, "overloaded"),
        (529, "overloaded"),
        (503, "overloaded"),
        (500, "upstream"),
        (400, "refused"),
        (404, "refused"),
        (302, "refused"),
    ];
    for (status, code) in cases {
        let answer = ResponseTemplate::new(status)
            .insert_header("location", "/elsewhere")
            .set_body_string("you said: a secret text");
        let error = error(answer).await;
        assert_eq!(error.code(), code, "{status}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_hanging_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = async {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    };
    let embedder = Embedder::openai(&settings(&format!("http://{address}"))).unwrap();
    let started = tokio::time::Instant::now();
    let error = tokio::select! {
        answer = embedder.embed("a") => answer.unwrap_err(),
        () = silent => unreachable!(),
    };
    assert_eq!(error, EmbedError::Timeout);
    assert_eq!(started.elapsed().as_secs(), 20);
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let embedder = Embedder::openai(&settings(&format!("http://{gone}"))).unwrap();
    assert_eq!(embedder.embed("a").await.unwrap_err(), EmbedError::Unreachable);
}

#[tokio::test]
async fn repeated_failures_open_the_circuit_breaker() {
    let server = server(ResponseTemplate::new(500)).await;
    let embedder = embedder(&server);
    let faults = breaker::Settings::default().failures as usize;
    for n in 0..faults {
        let error = embedder.embed(&n.to_string()).await.unwrap_err();
        assert_eq!(error, EmbedError::Upstream { status: 500 });
    }
    assert_eq!(embedder.embed("one more").await.unwrap_err().code(), "breaker_open");
    assert_eq!(embedder.breaker(), Some(breaker::State::Open));
    let open = embedder.check("another").unwrap_err();
    assert!(open.retry_after().is_some_and(|wait| wait > Duration::from_secs(20)), "{open}");
    assert_eq!(server.received_requests().await.unwrap().len(), faults);
}

#[tokio::test]
async fn a_refused_request_does_not_open_the_breaker() {
    let server = server(ResponseTemplate::new(400)).await;
    let embedder = embedder(&server);
    for n in 0..20 {
        assert_eq!(embedder.embed(&n.to_string()).await.unwrap_err().code(), "refused");
    }
}

#[test]
fn the_key_is_not_shown() {
    let settings = settings("http://127.0.0.1:1");
    let openai = Openai::new(&settings).unwrap();
    let shown = format!("{settings:?} {openai:?} {:?}", openai.authorization);
    assert!(!shown.contains("geheim"), "{shown}");
    let bad = Settings { api_key: Some("geheim\n".to_owned().into()), ..settings.clone() };
    let error = Openai::new(&bad).unwrap_err().to_string();
    assert!(error.contains("embeddings.api_key") && !error.contains("geheim"), "{error}");
    let bad = Settings { base_url: "ftp://x".to_owned(), ..settings };
    assert!(Openai::new(&bad).unwrap_err().to_string().contains("embeddings.base_url"));
}
