//! What a provider can do wrong, and what becomes of it.

use mlsdm::llm::{ANSWER_BYTES_MAX, CallReport, Completion, Delta, Llm, LlmError, Sink};
use mlsdm::testkit::double::{Act, Double, completion, cut_stream, failing, head, json};
use tokio::{sync::oneshot, time::Instant};

use crate::models::{MINUTE, PROMPT, anthropic, assert_secret, openai, request, streamed, whole};

/// What came of asking a provider that acts so.
async fn asked(acts: impl IntoIterator<Item = Act>) -> (CallReport, Sink) {
    let double = Double::new(acts).await;
    let (called, sink) = whole(&openai(&double.url), &request()).await;
    assert_eq!(called.attempts as usize, double.times());
    assert_secret(&called);
    (called, sink)
}

async fn error(act: Act) -> (LlmError, u32) {
    let (called, sink) = asked([act]).await;
    assert!(!sink.has_started());
    (called.result.unwrap_err(), called.attempts)
}

fn event(text: &str) -> String {
    let piece = serde_json::json!({ "choices": [{ "delta": { "content": text } }] });
    format!("data: {piece}\n\n")
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_tried_again() {
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for llm in [openai(&url), anthropic(&url)] {
        let (called, _) = whole(&llm, &request()).await;
        assert_eq!((called.attempts, called.result.err()), (3, Some(LlmError::Unreachable)));
    }
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_unreachable() {
    let (called, _) = asked([Act::Send(Vec::new())]).await;
    assert_eq!((called.attempts, called.result.err()), (3, Some(LlmError::Unreachable)));
}

/// Runs a call until the provider was asked, then lets its time pass.
async fn until_timeout(llm: &Llm, double: &Double, sink: &mut Sink) -> CallReport {
    let asked = request();
    let call = llm.call(&asked, sink, Instant::now() + MINUTE);
    let pass = async {
        double.asked(1).await;
        tokio::time::pause();
        tokio::time::advance(MINUTE).await;
    };
    tokio::join!(call, pass).0
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up_at_the_deadline() {
    let begun = head("200 OK", "Content-Type: application/json\r\nContent-Length: 10\r\n");
    for act in [Act::SendAndHang(Vec::new()), Act::SendAndHang(begun.into_bytes())] {
        let double = Double::new([act]).await;
        let llm = openai(&double.url);
        let called = until_timeout(&llm, &double, &mut Sink::new(None)).await;
        assert_eq!((called.attempts, called.result.err()), (1, Some(LlmError::Timeout)));
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_first_byte_that_is_late_is_waited_for() {
    let Act::Send(bytes) = completion("Hello there") else { panic!("an answer is bytes") };
    let (allow, allowed) = oneshot::channel();
    let double = Double::new([Act::SendWhen(allowed, bytes)]).await;
    let llm = openai(&double.url);
    let late = async {
        double.asked(1).await;
        allow.send(()).unwrap();
    };
    let asked = request();
    let ((called, sink), ()) = tokio::join!(whole(&llm, &asked), late);
    assert!(called.result.is_ok(), "{called:?}");
    assert_eq!((called.attempts, sink.text()), (1, "Hello there"));
}

#[tokio::test]
async fn what_is_no_answer_is_malformed_and_not_tried_again() {
    for body in ["{\"choices\": [", "[]", "{}", "{\"choices\": []}", "<html>"] {
        let (error, attempts) = error(json("200 OK", "", body)).await;
        assert!(matches!(error, LlmError::Malformed { .. }), "{body}: {error}");
        assert_eq!(attempts, 1);
    }
    let double = Double::new([json("200 OK", "", "{\"type\": \"message\"}")]).await;
    let (called, _) = whole(&anthropic(&double.url), &request()).await;
    assert!(matches!(called.result, Err(LlmError::Malformed { .. })));
}

#[tokio::test]
async fn an_empty_answer_says_nothing() {
    let (called, sink) = asked([completion("")]).await;
    assert!(called.result.is_ok());
    assert!(!sink.has_started(), "the step fails as empty");
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_not_read() {
    let (error, attempts) = error(completion(&"x".repeat(10 * 1024 * 1024))).await;
    assert!(matches!(error, LlmError::Malformed { .. }), "{error}");
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn a_long_answer_is_cut_whole_or_streamed() {
    let long = "x".repeat(ANSWER_BYTES_MAX + 1);
    let (called, sink) = asked([completion(&long)]).await;
    let Completion { finish_reason, truncated, .. } = called.result.unwrap();
    assert_eq!(
        (finish_reason.as_str(), truncated, sink.text().len()),
        ("length", true, ANSWER_BYTES_MAX)
    );

    let events = event(&"x".repeat(ANSWER_BYTES_MAX / 8)).repeat(9);
    let double = Double::new([cut_stream(&events)]).await;
    let (called, said, _) = streamed(&openai(&double.url), &request()).await;
    assert!(called.result.unwrap().truncated);
    assert_eq!(said.len(), ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn an_error_that_quotes_the_prompt_is_not_passed_on() {
    let quoting = format!("{{\"error\": {{\"message\": \"you said: {PROMPT}\"}}}}");
    for status in ["400 Bad Request", "404 Not Found", "401 Unauthorized", "500 Oops"] {
        asked([json(status, &format!("X-Echo: {PROMPT}\r\n"), &quoting)]).await;
    }
    let stream = cut_stream(&format!("data: {quoting}\n\n"));
    let double = Double::new([stream]).await;
    let (called, said, _) = streamed(&openai(&double.url), &request()).await;
    assert_eq!(said, "");
    assert_secret(&called);
    let kind = format!("event: error\ndata: {{\"error\":{{\"type\":\"{PROMPT}\"}}}}\n\n");
    let double = Double::new([cut_stream(&kind)]).await;
    let (called, _, _) = streamed(&anthropic(&double.url), &request()).await;
    assert_secret(&called);
    // a model's name goes to the log
    let named = format!("{{\"model\":\"{}\",\"choices\":[{{\"message\":{{}}}}]}}", "x".repeat(300));
    let (called, _) = asked([json("200 OK", "", &named)]).await;
    assert_eq!(called.result.unwrap().model, "m-1");
}

#[tokio::test]
async fn statuses_have_their_classes() {
    let refused = error(json("400 Bad Request", "", "{}")).await;
    assert_eq!(refused, (LlmError::Refused { status: 400 }, 1));
    let moved = error(json("302 Found", "Location: http://127.0.0.1:9/\r\n", "")).await;
    assert_eq!(moved, (LlmError::Refused { status: 302 }, 1), "no redirect is followed");
    let stranger = error(json("401 Unauthorized", "", "{}")).await;
    assert_eq!(stranger, (LlmError::Unauthorized { status: 401 }, 1));
    let busy = error(json("429 Too Many", "Retry-After: 90\r\n", "{}")).await;
    let retry_after = Some(std::time::Duration::from_secs(90));
    assert_eq!(busy, (LlmError::Overloaded { retry_after }, 1), "later than the deadline");
}

#[tokio::test]
async fn failures_that_pass_end_in_an_answer() {
    let mut acts = failing(1);
    acts.push(json("429 Too Many", "Retry-After: 0\r\n", "{}"));
    acts.push(completion("Hello there"));
    let (called, sink) = asked(acts).await;
    assert_eq!((called.attempts, sink.text()), (3, "Hello there"));
    assert_eq!(called.result.unwrap().model, "m-1-2026");
    let (called, _) = asked(failing(5)).await;
    assert_eq!(
        (called.attempts, called.result.err()),
        (3, Some(LlmError::Upstream { status: 500 }))
    );
}

#[tokio::test]
async fn a_stream_cut_after_the_first_piece_is_not_tried_again() {
    let cut = cut_stream(&event("Hello"));
    let double = Double::new([cut, completion("other")]).await;
    let (called, said, heard) = streamed(&openai(&double.url), &request()).await;
    assert_eq!((called.attempts, called.result.err()), (1, Some(LlmError::BrokenOff)));
    assert_eq!((said.as_str(), heard), ("Hello", vec![Delta::Text("Hello".to_owned())]));
}

#[tokio::test]
async fn a_stream_cut_before_the_first_piece_is_tried_again() {
    let acts = [cut_stream(": wait\n\n"), cut_stream("data: {\"choi"), completion("Hello there")];
    let double = Double::new(acts).await;
    let (called, said, _) = streamed(&openai(&double.url), &request()).await;
    assert_eq!((called.attempts, said.as_str()), (3, "Hello there"));
    assert!(called.result.is_ok(), "a server that answers whole is understood, too");
}

#[tokio::test]
async fn a_stream_of_something_else_is_malformed() {
    for events in ["data: {\"choices\": 7}\n\n", "data: \u{7f}\n\n"] {
        let double = Double::new([cut_stream(events)]).await;
        let (called, _, _) = streamed(&openai(&double.url), &request()).await;
        assert!(matches!(called.result, Err(LlmError::Malformed { .. })), "{called:?}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_has_its_class() {
    for (kind, attempts, wanted) in [
        ("overloaded_error", 3, LlmError::Overloaded { retry_after: None }),
        ("authentication_error", 1, LlmError::Unauthorized { status: 401 }),
        ("api_error", 3, LlmError::Upstream { status: 500 }),
    ] {
        let data = format!("event: error\ndata: {{\"error\":{{\"type\":\"{kind}\"}}}}\n\n");
        let double = Double::new((0..3).map(|_| cut_stream(&data))).await;
        let (called, _, _) = streamed(&anthropic(&double.url), &request()).await;
        assert_eq!((called.attempts, called.result.err()), (attempts, Some(wanted)));
    }
}
