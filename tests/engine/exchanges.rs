//! Recorded exchanges: what a request that continues an earlier one gets back, and its limits.

use futures_util::future::join_all;
use mlsdm::{
    domain::{ids::EngineId, policy::Policy},
    engine::{Chat, Exchange, ExchangeError, StepRequest, exchange},
    json,
    llm::{
        Dialect, Extra, Message, Role,
        turn::{self, ClientBlocks},
    },
    testkit::app::{TestApp, TestSetup, caller, generate},
};
use serde_json::json;

/// The number of earlier requests that a conversation may refer to.
const EARLIER_MAX: usize = 1_000;

/// An app whose log keeps each message once.
async fn new_app() -> TestApp {
    let policy = Policy::of_new_engine();
    TestApp::sqlite_with(TestSetup { policy, ..TestSetup::default() }).await
}

/// A request of the Responses API with these messages of the user.
fn request(messages: Vec<Message>) -> StepRequest {
    let prompt = turn::prompt(&messages, &ClientBlocks::none()).unwrap();
    let extra = Extra { dialect: Some(Dialect::Responses), ..Extra::default() };
    let chat = Chat::new(messages, &prompt, false, extra);
    StepRequest { chat: Some(chat), context_top_k: Some(0), ..generate("Go on") }
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t String>) -> Vec<Message> {
    texts.into_iter().map(|text| Message::text(Role::User, text)).collect()
}

/// Runs a step of ann, and returns its id.
async fn ask(app: &TestApp, request: StepRequest) -> String {
    let ann = caller("ann");
    let id = ann.id.clone();
    app.send(ann, request).await.unwrap();
    id
}

async fn read(app: &TestApp, id: &str) -> Result<Option<Exchange>, ExchangeError> {
    exchange(&*app.engine().await, &caller("ann"), id).await
}

#[tokio::test]
async fn a_conversation_is_read_up_to_its_limit_of_earlier_requests() {
    let app = new_app().await;
    let turns: Vec<String> = (0..=EARLIER_MAX).map(|turn| format!("This is turn {turn}")).collect();
    for some in turns.chunks(64) {
        join_all(some.iter().map(|turn| ask(&app, request(texts([turn]))))).await;
    }
    let longest = ask(&app, request(texts(&turns[1..]))).await;
    let read_back = read(&app, &longest).await.unwrap().unwrap();
    let read_back: Vec<&String> = read_back.messages.iter().map(|message| &message.text).collect();
    assert_eq!(read_back, turns[1..].iter().collect::<Vec<_>>());
    let longer = ask(&app, request(texts(&turns))).await;
    let error = read(&app, &longer).await.err().unwrap();
    assert!(matches!(error, ExchangeError::TooLong));
    let text = error.to_string();
    assert!(text.contains("1000 earlier requests or 8388608 bytes"), "{text}");
}

#[tokio::test]
async fn a_conversation_is_read_up_to_its_limit_of_bytes() {
    let app = new_app().await;
    let image = |fill: &str| {
        let url = format!("data:image/png;base64,{}", fill.repeat(3 * 1024 * 1024));
        let part = json!({ "type": "input_image", "image_url": url });
        let raw = json::raw(&json!({ "role": "user", "content": [part] })).unwrap();
        Message { role: Role::User, text: String::new(), raw: Some(raw) }
    };
    let images = [image("A"), image("B"), image("C")];
    let two = ask(&app, request(images[..2].to_vec())).await;
    let read_back = read(&app, &two).await.unwrap().unwrap();
    assert_eq!(read_back.messages, images[..2]);
    let three = ask(&app, request(images.to_vec())).await;
    assert!(matches!(read(&app, &three).await, Err(ExchangeError::TooLong)));
}

#[tokio::test]
async fn an_exchange_of_which_a_part_was_erased_is_not_found() {
    let app = new_app().await;
    let [one, two] = ["My name is Ann".to_owned(), "Do you know my name?".to_owned()];
    let first = ask(&app, request(texts([&one]))).await;
    let second = ask(&app, request(texts([&one, &two]))).await;
    assert_eq!(read(&app, &second).await.unwrap().unwrap().messages.len(), 2);
    let admission =
        app.log().await.iter().find(|event| event.kind == "step.admitted").unwrap().position;
    // no copy of the content is in memory
    let app = app.restart().await;
    let mut append = app.engines.parts().store.begin(&EngineId::default()).await.unwrap();
    append.delete_contents(&[admission]).await.unwrap();
    append.commit().await.unwrap();
    for id in [first, second] {
        assert!(read(&app, &id).await.unwrap().is_none());
    }
}
