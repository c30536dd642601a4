//! Streams live as long as they flow, and their head keeps the status of the provider.

use std::time::Duration;

use actix_web::{body::MessageBody, test};
use mlsdm::testkit::double::{Act, head, json as answer};
use serde_json::json;
use tokio::sync::oneshot;

use super::{CHAT, MESSAGES, Server, chunks, delta, finish, request};

const SECOND: Duration = Duration::from_secs(1);

/// The next frames of a body; `None` at its end.
async fn next<B: MessageBody>(body: &mut std::pin::Pin<Box<B>>) -> Option<String> {
    let chunk = std::future::poll_fn(|context| body.as_mut().poll_next(context)).await?;
    let Ok(bytes) = chunk else { panic!("the body fails") };
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[actix_web::test]
async fn a_silent_provider_gets_a_head_after_ten_seconds_and_comments_meanwhile() {
    let Act::Send(bytes) = chunks(&[delta(&json!({"content": "Noon"})), finish("stop")]) else {
        panic!("a stream is bytes")
    };
    let (allow, allowed) = oneshot::channel();
    let server = Server::openai([Act::SendWhen(allowed, bytes)]).await;
    let app = test::init_service(server.app()).await;
    let request = test::TestRequest::post().uri(CHAT).set_json(request(true)).to_request();
    let response = test::call_service(&app, request);
    let pass = async {
        server.double.asked(1).await;
        tokio::time::pause();
        tokio::time::advance(10 * SECOND).await;
    };
    let (response, ()) = tokio::join!(response, pass);
    assert_eq!(response.status(), 200);
    let mut body = Box::pin(response.into_body());
    assert_eq!(next(&mut body).await.as_deref(), Some(": keep-alive\n\n"));
    assert_eq!(next(&mut body).await.as_deref(), Some(": keep-alive\n\n"), "after 20 seconds");
    tokio::time::resume();
    allow.send(()).unwrap();
    let mut rest = String::new();
    while let Some(frames) = next(&mut body).await {
        rest.push_str(&frames);
    }
    assert!(rest.contains("Noon") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

#[actix_web::test]
async fn a_failure_after_the_head_is_an_error_event_with_the_code_of_the_provider() {
    let error =
        json!({"error": {"type": "invalid_request_error", "code": "context_length_exceeded"}});
    for (route, is_anthropic) in [(CHAT, false), (MESSAGES, true)] {
        let Act::Send(bytes) = answer("400 Bad Request", "", &error.to_string()) else {
            panic!("an answer is bytes")
        };
        let (allow, allowed) = oneshot::channel();
        let act = Act::SendWhen(allowed, bytes);
        let server =
            if is_anthropic { Server::anthropic([act]).await } else { Server::openai([act]).await };
        let app = test::init_service(server.app()).await;
        let request = test::TestRequest::post().uri(route).set_json(request(true)).to_request();
        let response = test::call_service(&app, request);
        let pass = async {
            server.double.asked(1).await;
            tokio::time::pause();
            tokio::time::advance(10 * SECOND).await;
            tokio::time::resume();
        };
        let (response, ()) = tokio::join!(response, pass);
        assert_eq!(response.status(), 200);
        allow.send(()).unwrap();
        let body = test::read_body(response).await;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("context_length_exceeded"), "{body}");
        assert!(!body.contains("[DONE]") && !body.contains("message_stop"), "{body}");
    }
}

#[actix_web::test]
async fn a_refusal_of_the_provider_keeps_its_status_on_a_streamed_request() {
    let error =
        json!({"error": {"type": "invalid_request_error", "code": "context_length_exceeded"}});
    let server = Server::openai([answer("400 Bad Request", "", &error.to_string())]).await;
    let (status, body) = server.post(CHAT, &request(true)).await;
    assert_eq!(status, 400, "{body}");
}

#[actix_web::test]
async fn an_answer_that_outlives_the_drain_time_ends_with_an_error() {
    let begun = format!("data: {}\n\n", delta(&json!({"content": "Noon"})));
    for streamed in [true, false] {
        let bytes = head("200 OK", "Content-Type: text/event-stream\r\n") + &begun;
        let server = Server::openai([Act::SendAndHang(bytes.into_bytes())]).await;
        let stop = server.stop();
        let asked = request(streamed);
        let post = server.post(CHAT, &asked);
        let end = async {
            server.double.asked(1).await;
            stop.end_drain();
        };
        let (status, body) = tokio::join!(post, end).0;
        assert!(status == 503 || (streamed && status == 200), "{body}");
        assert!(body.contains("the server is stopping"), "{body}");
        server.all_steps_ended().await;
    }
}
