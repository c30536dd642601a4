//! Failures of a provider, and the errors they lead to.

use mlsdm::llm::{
    ANSWER_BYTES_MAX, CallLog, CallReport, Completion, Delta, Llm, LlmError, Sink, UnreachableCause,
};
use mlsdm::testkit::double::{Act, Double, completion, cut_stream, failing, head, json};
use tokio::{sync::oneshot, time::Instant};

use crate::models::{MINUTE, PROMPT, anthropic, assert_secret, openai, request, streamed, whole};

/// Calls a provider that acts as given.
async fn call(acts: impl IntoIterator<Item = Act>) -> (CallReport, Sink) {
    let double = Double::new(acts).await;
    let (report, sink) = whole(&openai(&double.url), &request()).await;
    assert_eq!(report.attempts as usize, double.times());
    assert_secret(&report);
    (report, sink)
}

async fn error(act: Act) -> (LlmError, u32) {
    let (report, sink) = call([act]).await;
    assert!(!sink.has_started());
    (report.result.unwrap_err(), report.attempts)
}

fn event(text: &str) -> String {
    let chunk = serde_json::json!({ "choices": [{ "delta": { "content": text } }] });
    format!("data: {chunk}\n\n")
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_and_retried() {
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for llm in [openai(&url), anthropic(&url)] {
        let (report, _) = whole(&llm, &request()).await;
        let refused = LlmError::Unreachable { cause: UnreachableCause::Connect };
        assert_eq!((report.attempts, report.result.err()), (3, Some(refused)));
    }
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_unreachable() {
    let (report, _) = call([Act::Send(Vec::new())]).await;
    let reset = LlmError::Unreachable { cause: UnreachableCause::Reset };
    assert_eq!((report.attempts, report.result.err()), (3, Some(reset)));
}

/// Runs a call until the provider has received it, then advances the clock to its deadline.
async fn until_timeout(llm: &Llm, double: &Double, sink: &mut Sink) -> CallReport {
    let request = request();
    let mut calls = CallLog::default();
    let call = llm.call(&request, sink, &mut calls, Instant::now() + MINUTE);
    let pass = async {
        double.asked(1).await;
        tokio::time::pause();
        tokio::time::advance(MINUTE).await;
    };
    tokio::join!(call, pass).0
}

#[tokio::test]
async fn a_call_to_a_provider_that_hangs_fails_at_its_deadline() {
    let begun = head("200 OK", "Content-Type: application/json\r\nContent-Length: 10\r\n");
    for act in [Act::SendAndHang(Vec::new()), Act::SendAndHang(begun.into_bytes())] {
        let double = Double::new([act]).await;
        let llm = openai(&double.url);
        let report = until_timeout(&llm, &double, &mut Sink::new(None)).await;
        let code = report.result.map_err(|error| error.code());
        assert_eq!((report.attempts, code.unwrap_err()), (1, "timeout"));
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_slow_first_byte_is_awaited() {
    let Act::Send(bytes) = completion("Hello there") else { panic!("an answer is bytes") };
    let (allow, allowed) = oneshot::channel();
    let double = Double::new([Act::SendWhen(allowed, bytes)]).await;
    let llm = openai(&double.url);
    let late = async {
        double.asked(1).await;
        allow.send(()).unwrap();
    };
    let request = request();
    let ((report, sink), ()) = tokio::join!(whole(&llm, &request), late);
    assert!(report.result.is_ok(), "{report:?}");
    assert_eq!((report.attempts, sink.text()), (1, "Hello there"));
}

#[tokio::test]
async fn a_malformed_response_is_not_retried() {
    for body in ["{\"choices\": [", "[]", "{}", "{\"choices\": []}", "<html>"] {
        let (error, attempts) = error(json("200 OK", "", body)).await;
        assert!(matches!(error, LlmError::Malformed { .. }), "{body}: {error}");
        assert_eq!(attempts, 1);
    }
    let double = Double::new([json("200 OK", "", "{\"type\": \"message\"}")]).await;
    let (report, _) = whole(&anthropic(&double.url), &request()).await;
    assert!(matches!(report.result, Err(LlmError::Malformed { .. })));
}

#[tokio::test]
async fn an_empty_answer_does_not_start_the_sink() {
    let (report, sink) = call([completion("")]).await;
    assert!(report.result.is_ok());
    assert!(!sink.has_started(), "the step fails as empty");
}

#[tokio::test]
async fn a_body_above_the_size_limit_is_malformed() {
    let (error, attempts) = error(completion(&"x".repeat(10 * 1024 * 1024))).await;
    assert!(matches!(error, LlmError::Malformed { .. }), "{error}");
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn a_long_answer_is_cut_with_and_without_streaming() {
    let long = "x".repeat(ANSWER_BYTES_MAX + 1);
    let (report, sink) = call([completion(&long)]).await;
    let Completion { finish_reason, truncated, .. } = report.result.unwrap();
    assert_eq!(
        (finish_reason.as_str(), truncated, sink.text().len()),
        ("length", true, ANSWER_BYTES_MAX)
    );

    let events = event(&"x".repeat(ANSWER_BYTES_MAX / 8)).repeat(9);
    let head = head("200 OK", "Content-Type: text/event-stream\r\n");
    let double = Double::new([Act::Send((head + &events).into_bytes())]).await;
    let (report, text, _) = streamed(&openai(&double.url), &request()).await;
    assert!(report.result.unwrap().truncated);
    assert_eq!(text.len(), ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn an_error_that_quotes_the_prompt_is_not_reported() {
    let quoting = format!("{{\"error\": {{\"message\": \"you said: {PROMPT}\"}}}}");
    for status in ["400 Bad Request", "404 Not Found", "401 Unauthorized", "500 Oops"] {
        call([json(status, &format!("X-Echo: {PROMPT}\r\n"), &quoting)]).await;
    }
    let stream = cut_stream(&format!("data: {quoting}\n\n"));
    let double = Double::new([stream]).await;
    let (report, text, _) = streamed(&openai(&double.url), &request()).await;
    assert_eq!(text, "");
    assert_secret(&report);
    let kind = format!("event: error\ndata: {{\"error\":{{\"type\":\"{PROMPT}\"}}}}\n\n");
    let double = Double::new([cut_stream(&kind)]).await;
    let (report, _, _) = streamed(&anthropic(&double.url), &request()).await;
    assert_secret(&report);
    // the model's name is recorded, so its length is limited
    let named = format!("{{\"model\":\"{}\",\"choices\":[{{\"message\":{{}}}}]}}", "x".repeat(300));
    let (report, _) = call([json("200 OK", "", &named)]).await;
    assert_eq!(report.result.unwrap().model, "m-1");
}

#[tokio::test]
async fn statuses_map_to_errors() {
    let refused = error(json("400 Bad Request", "", "{}")).await;
    assert!(matches!(refused, (LlmError::Refused { status: 400, .. }, 1)), "{refused:?}");
    let moved = error(json("302 Found", "Location: http://127.0.0.1:9/\r\n", "")).await;
    let is_refused = matches!(moved, (LlmError::Refused { status: 302, .. }, 1));
    assert!(is_refused, "a redirect is followed: {moved:?}");
    let unauthorized = error(json("401 Unauthorized", "", "{}")).await;
    assert_eq!(unauthorized, (LlmError::Unauthorized { status: 401 }, 1));
    let busy = error(json("429 Too Many", "Retry-After: 90\r\n", "{}")).await;
    let retry_after = Some(std::time::Duration::from_secs(90));
    assert_eq!(
        busy,
        (LlmError::Overloaded { status: 429, retry_after }, 1),
        "no retry after the deadline"
    );
}

#[tokio::test]
async fn temporary_failures_are_retried() {
    let mut acts = failing(1);
    acts.push(json("429 Too Many", "Retry-After: 0\r\n", "{}"));
    acts.push(completion("Hello there"));
    let (report, sink) = call(acts).await;
    assert_eq!((report.attempts, sink.text()), (3, "Hello there"));
    assert_eq!(report.result.unwrap().model, "m-1-2026");
    let (report, _) = call(failing(5)).await;
    assert_eq!(
        (report.attempts, report.result.err()),
        (3, Some(LlmError::Upstream { status: 500 }))
    );
}

#[tokio::test]
async fn a_stream_cut_after_the_first_delta_is_not_retried() {
    let cut = cut_stream(&event("Hello"));
    let double = Double::new([cut, completion("other")]).await;
    let (report, text, deltas) = streamed(&openai(&double.url), &request()).await;
    assert_eq!((report.attempts, report.result.err()), (1, Some(LlmError::BrokenOff)));
    assert_eq!((text.as_str(), deltas), ("Hello", vec![Delta::Text("Hello".to_owned())]));
}

#[tokio::test]
async fn a_stream_cut_before_the_first_delta_is_retried() {
    let acts = [cut_stream(": wait\n\n"), cut_stream("data: {\"choi"), completion("Hello there")];
    let double = Double::new(acts).await;
    let (report, text, _) = streamed(&openai(&double.url), &request()).await;
    assert_eq!((report.attempts, text.as_str()), (3, "Hello there"));
    assert!(report.result.is_ok(), "a response without streaming is accepted");
}

#[tokio::test]
async fn a_stream_of_other_data_is_malformed() {
    for events in ["data: {\"choices\": 7}\n\n", "data: \u{7f}\n\n"] {
        let double = Double::new([cut_stream(events)]).await;
        let (report, _, _) = streamed(&openai(&double.url), &request()).await;
        assert!(matches!(report.result, Err(LlmError::Malformed { .. })), "{report:?}");
    }
}

#[tokio::test]
async fn an_error_event_maps_to_the_error_of_its_status() {
    for (kind, attempts, expected) in [
        ("overloaded_error", 3, LlmError::Overloaded { status: 529, retry_after: None }),
        ("authentication_error", 1, LlmError::Unauthorized { status: 401 }),
        ("api_error", 3, LlmError::Upstream { status: 500 }),
    ] {
        let data = format!("event: error\ndata: {{\"error\":{{\"type\":\"{kind}\"}}}}\n\n");
        let double = Double::new((0..3).map(|_| cut_stream(&data))).await;
        let (report, _, _) = streamed(&anthropic(&double.url), &request()).await;
        assert_eq!((report.attempts, report.result.err()), (attempts, Some(expected)));
    }
}
