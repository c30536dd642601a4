use super::*;

#[tokio::test]
async fn an_answer_is_cut_at_a_character_boundary() {
    let mut sink = Sink::new(None);
    sink.push_text(&"x".repeat(ANSWER_BYTES_MAX - 1)).await.unwrap();
    assert_eq!(sink.push_text("éé").await, Err(LlmError::TooLong));
    assert_eq!(sink.text().len(), ANSWER_BYTES_MAX - 1);
}

fn part(id: &str, arguments: &str) -> CallPart {
    let (id, name) = (Some(id.to_owned()), Some("clock".to_owned()));
    CallPart { id, name, arguments: arguments.to_owned(), ..CallPart::default() }
}

#[tokio::test]
async fn deltas_are_collected_and_forwarded() {
    let (client, mut deltas) = mpsc::channel(DELTAS_MAX);
    let mut sink = Sink::new(Some(client));
    sink.push_reasoning("Hm").await.unwrap();
    sink.push_text("Hello ").await.unwrap();
    sink.push_text("there").await.unwrap();
    sink.push_call(part("1", "{")).await.unwrap();
    sink.push_call(part("1", "}")).await.unwrap();
    assert_eq!((sink.text(), sink.reasoning()), ("Hello there", "Hm"));
    assert_eq!(sink.tool_calls()[0].arguments, "{}");
    assert_eq!(deltas.recv().await, Some(Delta::Reasoning("Hm".into())));
    assert_eq!(deltas.recv().await, Some(Delta::Text("Hello ".into())));
}

fn event(data: &str) -> NativeEvent {
    NativeEvent { name: String::new(), data: data.to_owned() }
}

#[tokio::test]
async fn a_client_of_the_same_dialect_gets_the_events_in_place_of_the_pieces() {
    let (client, mut deltas) = mpsc::channel(DELTAS_MAX);
    let mut sink = Sink::new(Some(client)).with_dialect(Some(Dialect::OpenAi));
    sink.begin(Dialect::OpenAi).await.unwrap();
    sink.push_native(event("discarded"), false).await.unwrap();
    sink.begin(Dialect::OpenAi).await.unwrap();
    sink.push_native(event("role"), false).await.unwrap();
    assert!(!sink.has_started(), "a retry is still possible");
    sink.push_text("Hi").await.unwrap();
    sink.push_native(event("Hi"), true).await.unwrap();
    drop(sink.into_parts());
    let mut got = Vec::new();
    while let Some(delta) = deltas.recv().await {
        got.push(delta);
    }
    let native = |data| Delta::Native(event(data));
    assert_eq!(got, [Delta::Begun, Delta::Begun, native("role"), native("Hi")]);
}

#[tokio::test]
async fn a_client_of_another_dialect_gets_the_pieces() {
    let (client, mut deltas) = mpsc::channel(DELTAS_MAX);
    let mut sink = Sink::new(Some(client)).with_dialect(Some(Dialect::Anthropic));
    sink.begin(Dialect::OpenAi).await.unwrap();
    sink.push_text("Hi").await.unwrap();
    sink.push_native(event("Hi"), true).await.unwrap();
    assert_eq!(deltas.recv().await, Some(Delta::Begun));
    assert_eq!(deltas.recv().await, Some(Delta::Text("Hi".into())));
    assert!(deltas.try_recv().is_err());
}

#[tokio::test]
async fn a_disconnected_client_ends_the_call() {
    let (client, deltas) = mpsc::channel(1);
    drop(deltas);
    let mut sink = Sink::new(Some(client));
    assert_eq!(sink.push_text("Hello").await, Err(LlmError::CallerGone));
    assert_eq!(sink.text(), "Hello", "the sink holds the text");
}

#[tokio::test]
async fn an_answer_beyond_the_memory_of_all_requests_is_broken_off_and_its_memory_given_back() {
    let pool = crate::inflight::Inflight::new(96 * 1024);
    let mut sink = Sink::new(None).with_lease(Some(pool.lease()));
    let piece = "x".repeat(16 * 1024);
    sink.push_text(&piece).await.unwrap();
    sink.push_text(&piece).await.unwrap();
    assert_eq!(pool.used(), 96 * 1024, "text, native form and sealed content");
    assert_eq!(sink.push_text("x").await, Err(LlmError::OverMemory));
    assert_eq!(sink.text().len(), 32 * 1024, "the part before is kept");
    drop(sink);
    assert_eq!(pool.used(), 0);
}
