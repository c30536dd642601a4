//! The library interface, as a program uses it.

use mlsdm::{
    Engine, Error, Generate,
    engine::StepError,
    llm::{LlmError, Reply},
    testkit::TestDatabase,
};

#[path = "../../examples/standalone.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own: `cargo run --example`")]
mod example;

/// An answer with enough confidence and length to be remembered.
const ANSWER: &str = "That is noted and it will be kept in mind from now on, thank you.";

async fn open(database: &TestDatabase) -> Engine {
    Engine::builder().llm(|_| async { Ok(ANSWER) }).open(database.url()).await.unwrap()
}

#[tokio::test]
async fn the_example_remembers_and_separates_end_users() {
    let database = TestDatabase::sqlite();
    let mut out = Vec::new();
    example::run(database.url(), &mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[3].contains("your dog is called Rex") && lines[3].ends_with("1]"), "{out}");
    assert!(!lines[5].contains("Rex") && lines[5].ends_with("0]"), "{out}");
    assert!(lines[7].contains("morally rejected"), "{out}");
    assert_eq!(lines[8], "3 items remembered, the same state after a restart");
}

#[tokio::test]
async fn missing_token_counts_are_estimated() {
    let database = TestDatabase::sqlite();
    let engine = open(&database).await;
    let step = engine.generate(Generate::new("Hello there").moral_value(0.9)).await.unwrap();
    let tokens = |text: &str| text.len().div_ceil(4) as u64;
    assert_eq!(step.usage.prompt_tokens, tokens("Hello there"));
    assert_eq!(step.usage.completion_tokens, tokens(ANSWER));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn errors_are_typed() {
    let database = TestDatabase::sqlite();
    let none = Engine::builder().open(database.url()).await;
    assert!(matches!(none, Err(Error::NoModel)));

    let bad =
        Engine::builder().llm(|_| async { Ok(ANSWER) }).capacity(0).open(database.url()).await;
    assert!(matches!(bad, Err(Error::Engine(_))));

    // the failed attempt has closed the file
    let down = |_| async { Err::<Reply, _>(LlmError::Unavailable { code: "down" }) };
    let engine = Engine::builder().llm(down).open(database.url()).await.unwrap();
    let blank = engine.generate(Generate::new(" \n")).await;
    assert!(matches!(blank, Err(Error::BlankPrompt)));
    let failed = engine.generate(Generate::new("Hello").moral_value(0.9)).await;
    assert!(matches!(failed, Err(Error::Step(StepError::Failed { step: 1, .. }))));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_policy_that_is_built_is_applied_to_a_log_that_exists() {
    let database = TestDatabase::sqlite();
    open(&database).await.close().await.unwrap();
    let builder = Engine::builder().llm(|_| async { Ok(ANSWER) });
    let builder = builder.policy(|policy| policy.budget.tokens = 10);
    let engine = builder.capacity(7).open(database.url()).await.unwrap();
    let hello = || Generate::new("Hello there").moral_value(0.9).end_user("ann");
    assert!(engine.generate(hello()).await.unwrap().accepted);
    let refused = engine.generate(hello()).await.unwrap_err();
    assert!(matches!(refused, Error::Step(StepError::Write(_))), "{refused}");
    let state = engine.state(Some("ann")).await.unwrap();
    assert_eq!((state.memory.capacity, state.budget.unwrap().limit.tokens), (7, 10));
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_repeated_request_is_answered_once() {
    let database = TestDatabase::sqlite();
    let engine = open(&database).await;
    let once = || Generate::new("Hello there").moral_value(0.9).idempotency_key("once");
    let first = engine.generate(once()).await.unwrap();
    let mut again = engine.generate(once()).await.unwrap();
    assert_ne!(again.request_id, first.request_id);
    again.request_id.clone_from(&first.request_id);
    assert_eq!(again, first);
    engine.close().await.unwrap();
}
