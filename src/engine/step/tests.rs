//! The facts that a step records in a log of format 2.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{request::Chat, retrieve::CONTEXT_LABEL};
use crate::{
    domain::{
        event::{Auth, AuthScheme, FailStage},
        ids::{EngineId, KeyId},
        policy::Policy,
    },
    engine::{Settings, StepError, StepRequest},
    llm::{Dialect, Extra, LlmError, Message, Role},
    testkit::app::{NOTED, Reaction, TestApp, TestSetup, caller, generate},
};

const FACT: &str = "My dog is called Rex";
const QUESTION: &str = "What is my dog called?";

async fn app_with(policy: Policy) -> TestApp {
    TestApp::sqlite_with(TestSetup { policy, ..TestSetup::default() }).await
}

/// The payload of the newest event of one type.
async fn newest(app: &TestApp, kind: &str) -> Value {
    let log = app.log().await;
    let record = log.iter().rfind(|record| record.kind == kind).unwrap();
    serde_json::from_slice(&record.payload).unwrap()
}

async fn context(app: &TestApp) -> Value {
    newest(app, "step.completed").await["context"].clone()
}

fn outcomes(context: &Value) -> Vec<&str> {
    let hits = context["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_used_memory_is_recorded_with_its_score() {
    let app = TestApp::sqlite().await;
    app.ask("ann", FACT).await.unwrap();
    assert_eq!(context(&app).await.get("hits"), None, "nothing was found");
    assert_eq!(context(&app).await.get("digest"), None, "nothing was sent");
    let position = app.log().await.last().unwrap().position;
    app.ask("ann", QUESTION).await.unwrap();
    let context = context(&app).await;
    assert_eq!(outcomes(&context), ["used"]);
    let hit = &context["hits"][0];
    assert_eq!((&hit["position"], &context["used"]), (&json!(position), &json!([position])));
    let score = hit["score"].as_f64().unwrap();
    assert!(score > 0.0 && score <= 1.0, "{context}");
}

#[tokio::test]
async fn a_step_without_time_left_fails_without_a_call() {
    let settings = Settings { timeout: Duration::ZERO, ..Settings::default() };
    let app = TestApp::sqlite_with(TestSetup { settings, ..TestSetup::default() }).await;
    // not by a handle, whose limit cancels the step
    let engine = app.engine().await;
    let token = CancellationToken::new();
    let error = super::run(&engine, &caller("ann"), &generate(QUESTION), None, &token).await;
    let Err(StepError::Failed { stage, code, .. }) = error else { panic!("{error:?}") };
    assert_eq!((stage, code.as_str()), (FailStage::Llm, "deadline"));
    let failed = newest(&app, "step.failed").await;
    assert_eq!((&failed["code"], failed.get("calls")), (&json!("deadline"), None));
    assert!(app.model.requests().is_empty());
}

#[tokio::test]
async fn the_digest_is_the_hmac_of_the_message_that_the_model_got() {
    let app = TestApp::sqlite().await;
    app.ask("ann", FACT).await.unwrap();
    app.ask("ann", QUESTION).await.unwrap();
    let request = app.model.requests().pop().unwrap();
    let message = request.messages[0].text.strip_suffix(&format!("\n\n{QUESTION}")).unwrap();
    assert!(message.contains(FACT));
    let engine = app.engine().await;
    let subject = engine.subjects.by_name_or_new("ann").await.unwrap();
    let expected = hex::encode(subject.key.hmac(CONTEXT_LABEL, message.as_bytes()));
    assert_eq!(context(&app).await["digest"], json!(expected));
}

#[tokio::test]
async fn a_truncated_memory_and_one_without_room_are_recorded() {
    let mut policy = Policy::default();
    policy.context.max_chars = 300;
    let app = app_with(policy).await;
    for number in 0..3 {
        // distinct words, because an answer that repeats itself is not remembered
        let words: Vec<String> = (0..80).map(|word| format!("w{word}x{number}")).collect();
        app.model.script([Reaction::Say(words.join(" "))]);
        app.ask("ann", FACT).await.unwrap();
    }
    app.ask("ann", QUESTION).await.unwrap();
    let context = context(&app).await;
    let outcomes = outcomes(&context);
    assert_eq!(outcomes.len(), 3, "{context}");
    assert_eq!(outcomes[0], "truncated", "{context}");
    assert_eq!(outcomes[2], "no_room", "{context}");
    assert!(context["chars"].as_u64().unwrap() <= 300);
}

fn chat(texts: &[&str], fields: Value) -> StepRequest {
    let fields = serde_json::from_value(fields).unwrap();
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    let messages: Vec<_> =
        roles.zip(texts).map(|(role, text)| Message::text(role, *text)).collect();
    let chat = Chat {
        prompt: messages.len() - 1,
        part: 0,
        turn: messages.len() - 1,
        messages: messages.into(),
        shortenable: true,
        extra: std::sync::Arc::new(Extra {
            dialect: Some(Dialect::OpenAi),
            fields,
            ..Extra::default()
        }),
    };
    StepRequest { chat: Some(chat), ..generate(texts[texts.len() - 1]) }
}

#[tokio::test]
async fn a_memory_that_the_request_contains_is_recorded_as_such() {
    let app = TestApp::sqlite().await;
    app.ask("ann", FACT).await.unwrap();
    app.send(caller("ann"), chat(&[FACT, NOTED, QUESTION], json!({}))).await.unwrap();
    let context = context(&app).await;
    assert_eq!(outcomes(&context), ["already_in_request"]);
    assert_eq!((&context["used"], context.get("digest")), (&json!([]), None));
}

#[tokio::test]
async fn a_memory_without_content_is_recorded_as_such() {
    let app = TestApp::sqlite().await;
    app.ask("ann", FACT).await.unwrap();
    let position = app.log().await.last().unwrap().position;
    let app = app.restart().await;
    app.engine().await;
    let delete = format!("DELETE FROM contents WHERE position = {}", position - 1);
    app.database().execute(&delete).await.unwrap();
    app.ask("ann", QUESTION).await.unwrap();
    assert_eq!(outcomes(&context(&app).await), ["content_missing"]);
}

#[tokio::test]
async fn sampling_and_credential_are_recorded_as_the_caller_gave_them() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "Hello").await.unwrap();
    let request = newest(&app, "step.admitted").await["request"].clone();
    assert_eq!((request.get("sampling"), request.get("auth")), (None, None));

    let id = KeyId::new(7);
    let mut caller = caller("ann");
    caller.auth = Some(Auth { scheme: AuthScheme::Key, key_id: Some(id) });
    let mut request = chat(&["Hello"], json!({"top_p": 0.5, "seed": -3, "stop": "x"}));
    request.temperature = Some(0.25);
    app.send(caller.clone(), request.clone()).await.unwrap();
    let auth = json!({"scheme": "key", "key_id": id.to_string()});
    let sampling = json!({"temperature": 0.25, "top_p": 0.5, "seed": -3});
    let recorded = newest(&app, "step.admitted").await["request"].clone();
    assert_eq!((&recorded["sampling"], &recorded["auth"]), (&sampling, &auth));
    let call = newest(&app, "step.completed").await["calls"][0].clone();
    assert_eq!(call["sampling"], sampling, "what was sent");

    request.moral_value = Some(0.1);
    app.send(caller, request).await.unwrap();
    let recorded = newest(&app, "step.rejected").await["request"].clone();
    assert_eq!((&recorded["sampling"], &recorded["auth"]), (&sampling, &auth));
}

#[tokio::test]
async fn a_failed_step_records_what_was_sent_to_whom() {
    let app = TestApp::sqlite().await;
    app.ask("ann", FACT).await.unwrap();
    app.model.script([Reaction::Fail(LlmError::Upstream { status: 500 })]);
    let mut request = generate(QUESTION);
    request.model = Some("m-1".to_owned());
    app.send(caller("ann"), request).await.unwrap_err();
    let failed = newest(&app, "step.failed").await;
    assert_eq!(outcomes(&failed["context"]), ["used"]);
    assert!(failed["context"]["digest"].is_string());
    assert_eq!((&failed["provider"], &failed["model"]), (&json!("function"), &json!("m-1")));
    assert_eq!(failed["attempts"], 1);
    let call = &failed["calls"][0];
    assert_eq!((&call["provider"], &call["code"]), (&json!("function"), &json!("upstream")));
    assert_eq!(failed["latency"]["total_ms"], failed["latency_ms"]);
    assert!(failed["latency"]["model_ms"].as_f64() >= call["ms"].as_f64(), "{failed}");
}

#[tokio::test]
async fn a_cancelled_step_records_what_was_sent_to_whom() {
    let app = TestApp::sqlite().await;
    app.ask("ann", FACT).await.unwrap();
    app.model.script([Reaction::Hang]);
    let asked = app.model.requests().len() + 1;
    let asking = app.ask("ann", QUESTION);
    let gone = async { app.model.asked(asked).await };
    tokio::select! {
        _ = asking => panic!("the model does not answer"),
        () = gone => {}
    }
    let engine = app.engines.get(&EngineId::default()).await.unwrap();
    engine.views().wait_for(|view| view.state.counts.failed == 1).await.unwrap();
    let failed = newest(&app, "step.failed").await;
    assert_eq!((&failed["stage"], &failed["code"]), (&json!("cancelled"), &json!("client_gone")));
    assert_eq!((&failed["provider"], &failed["attempts"]), (&json!("function"), &json!(1)));
    assert_eq!(failed["calls"][0]["code"], "client_gone");
    assert_eq!(outcomes(&failed["context"]), ["used"]);
}
