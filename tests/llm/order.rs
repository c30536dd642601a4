//! Who is asked: fallbacks, engines, and models that may be named.

use mlsdm::testkit::double::{Double, completion, cut_stream, failing, json as answer};
use mlsdm::{
    domain::budget::Price,
    domain::ids::EngineId,
    llm::{Dialect, Llm, LlmError, Request},
};
use serde_json::json;

use crate::models::{llm, request, streamed, whole, wishing};

/// Chat completions first, the stub after them.
fn with_stub(url: &str, more: &[(&str, &str)]) -> Llm {
    let own = [
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", url),
        ("MLSDM__LLM__FALLBACKS", "local_stub"),
    ];
    llm(&[&own[..], more].concat())
}

#[tokio::test]
async fn another_provider_is_asked_when_the_first_fails() {
    let double = Double::new(failing(9)).await;
    let (called, sink) = whole(&with_stub(&double.url, &[]), &request()).await;
    assert_eq!((called.provider, called.attempts), ("local_stub", 4));
    assert_eq!(called.result.unwrap().model, "local-stub");
    assert!(sink.text().contains("local stub"));
}

#[tokio::test]
async fn an_open_breaker_falls_back_at_once() {
    let double = Double::new(failing(9)).await;
    let llm = with_stub(&double.url, &[("MLSDM__LLM__BREAKER__FAILURES", "3")]);
    whole(&llm, &request()).await;
    assert_eq!(llm.breakers()["openai"], "open");
    assert_eq!(llm.breakers()["local_stub"], "closed");
    let (called, _) = whole(&llm, &request()).await;
    assert_eq!((called.provider, called.attempts), ("local_stub", 1));
    assert_eq!(double.times(), 3);
}

#[tokio::test]
async fn a_long_wait_asked_for_is_not_waited_for_when_another_can_answer() {
    let busy = answer("429 Too Many", "Retry-After: 30\r\n", "{}");
    let double = Double::new([busy]).await;
    let (called, _) = whole(&with_stub(&double.url, &[]), &request()).await;
    assert_eq!((called.provider, called.attempts), ("local_stub", 2));
}

#[tokio::test]
async fn nobody_else_is_asked_after_the_first_piece() {
    let piece = json!({ "choices": [{ "delta": { "content": "Hello" } }] });
    let double = Double::new([cut_stream(&format!("data: {piece}\n\n"))]).await;
    let (called, said, _) = streamed(&with_stub(&double.url, &[]), &request()).await;
    assert_eq!((called.provider, called.attempts), ("openai", 1));
    assert_eq!((called.result.err(), said.as_str()), (Some(LlmError::BrokenOff), "Hello"));
}

#[tokio::test]
async fn what_the_first_provider_said_is_told_when_the_others_cannot_be_asked() {
    let double = Double::new(failing(3)).await;
    let llm = llm(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &double.url),
        ("MLSDM__LLM__FALLBACKS", "anthropic:claude"),
        ("MLSDM__LLM__ANTHROPIC__BASE_URL", "http://127.0.0.1:9"),
    ]);
    // Anthropic has no such wish
    let asked = wishing(Dialect::OpenAi, json!({ "seed": 1 }));
    let (called, _) = whole(&llm, &asked).await;
    assert_eq!(called.provider, "openai");
    assert_eq!(called.result.err(), Some(LlmError::Upstream { status: 500 }));
}

#[tokio::test]
async fn an_engine_has_a_model_of_its_own() {
    let double = Double::new([completion("from afar")]).await;
    let llm = llm(&[
        ("MLSDM__LLM__ENGINES", "support=openai:m-2"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &double.url),
    ]);
    assert_eq!((llm.provider(), llm.model()), ("local_stub", None));
    let other = llm.for_engine(&EngineId::default());
    assert!(whole(&other, &request()).await.1.text().contains("local stub"));
    let support = llm.for_engine(&"support".parse().unwrap());
    assert_eq!((support.provider(), support.model()), ("openai", Some("m-2")));
    assert_eq!(whole(&support, &request()).await.1.text(), "from afar");
    assert_eq!(llm.breakers().len(), 2, "one breaker a provider");
}

#[tokio::test]
async fn only_listed_models_may_be_named() {
    let double = Double::new([completion("Hi"), completion("Hi")]).await;
    let llm = llm(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &double.url),
        ("MLSDM__LLM__MODELS", "m-2,m-3"),
        ("MLSDM__LLM__PRICES", "m-1=2.50/10"),
    ]);
    let naming = |model: &str| Request { model: Some(model.to_owned()), ..request() };
    let (refused, _) = whole(&llm, &naming("m-4")).await;
    assert_eq!((refused.attempts, refused.result.err()), (0, Some(LlmError::NotAllowed)));
    assert!(whole(&llm, &naming("m-2")).await.0.result.is_ok());
    assert!(whole(&llm, &naming("m-1")).await.0.result.is_ok(), "the configured one");
    assert_eq!(llm.models(), ["m-1", "m-2", "m-3"]);
    assert_eq!(llm.price("m-1"), Some(Price { input: 2_500_000, output: 10_000_000 }));
    assert_eq!(llm.price("m-2"), None);
}
