use std::pin::pin;

use actix_web::{body::MessageBody, test, web::Bytes};
use futures_util::future::poll_fn;
use mlsdm::{domain::policy::Policy, http::create_app, testkit::TestDatabase};
use serde_json::Value;

use crate::{
    health::state,
    log::{Process, say},
};

/// The positions in a chunk of the stream; each frame's data is that event.
fn positions(chunk: &Bytes) -> Vec<u64> {
    let text = std::str::from_utf8(chunk).unwrap();
    let frame = |frame: &str| {
        let (id, data) = frame.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let id: u64 = id.strip_prefix("id: ").unwrap().parse().unwrap();
        assert_eq!(event["position"], id);
        id
    };
    text.split_terminator("\n\n").map(frame).collect()
}

#[actix_web::test]
async fn a_stream_resumes_after_the_last_event_id_and_ends_with_the_server() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    let engine = process.default(&Policy::default()).await;
    say(&engine, "ann", "One thing", 0.9).await;
    let app = test::init_service(create_app(state(&process).await)).await;
    let request = test::TestRequest::get()
        .uri("/v1/events/stream")
        .insert_header(("last-event-id", "1"))
        .to_request();
    let response = test::call_service(&app, request).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
    let mut body = pin!(response.into_body());
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let chunk = poll_fn(|cx| body.as_mut().poll_next(cx)).await.unwrap();
        seen.extend(positions(&chunk.map_err(|_| "broken").unwrap()));
    }
    // new events
    say(&engine, "ann", "Another thing", 0.9).await;
    while seen.len() < 4 {
        let chunk = poll_fn(|cx| body.as_mut().poll_next(cx)).await.unwrap();
        seen.extend(positions(&chunk.map_err(|_| "broken").unwrap()));
    }
    assert_eq!(seen, [2, 3, 4, 5]);
    process.tasks.stop().begin();
    assert!(poll_fn(|cx| body.as_mut().poll_next(cx)).await.is_none());
}

#[actix_web::test]
async fn an_invalid_position_and_one_stream_too_many_are_problems() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    drop(process.default(&Policy::default()).await);
    let shared = state(&process).await;
    let app = test::init_service(create_app(shared.clone())).await;
    let bad = test::TestRequest::get()
        .uri("/v1/events/stream")
        .insert_header(("last-event-id", "yesterday"))
        .to_request();
    assert_eq!(test::call_service(&app, bad).await.status(), 400);
    let all = shared.streams.available_permits() as u32;
    let _open = shared.streams.acquire_many(all).await.unwrap();
    let one_more = test::TestRequest::get().uri("/v1/events/stream").to_request();
    let refused = test::call_service(&app, one_more).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
}
