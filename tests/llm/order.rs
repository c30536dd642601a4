//! The order of providers: fallbacks, engines with their own order, and allowed models.

use mlsdm::testkit::double::{Double, completion, cut_stream, failing, json as answer};
use mlsdm::{
    domain::budget::Price,
    domain::ids::EngineId,
    llm::{Dialect, Llm, LlmError, Request},
};
use serde_json::json;

use crate::models::{llm, request, streamed, whole, with_fields};

/// Chat completions, with the stub as fallback.
fn with_stub(url: &str, more: &[(&str, &str)]) -> Llm {
    let own = [
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", url),
        ("MLSDM__LLM__FALLBACKS", "local_stub"),
    ];
    llm(&[&own[..], more].concat())
}

#[tokio::test]
async fn the_fallback_is_report_if_the_first_provider_fails() {
    let double = Double::new(failing(9)).await;
    let (report, sink) = whole(&with_stub(&double.url, &[]), &request()).await;
    assert_eq!((report.provider, report.attempts), ("local_stub", 4));
    assert_eq!(report.result.unwrap().model, "local-stub");
    assert!(sink.text().contains("local stub"));
}

#[tokio::test]
async fn an_open_breaker_falls_back_at_once() {
    let double = Double::new(failing(9)).await;
    let llm = with_stub(&double.url, &[("MLSDM__LLM__BREAKER__FAILURES", "3")]);
    whole(&llm, &request()).await;
    assert_eq!(llm.breakers()["openai:m-1"], "open");
    assert_eq!(llm.breakers()["local_stub"], "closed");
    let (report, _) = whole(&llm, &request()).await;
    assert_eq!((report.provider, report.attempts), ("local_stub", 1));
    assert_eq!(double.times(), 3);
}

#[tokio::test]
async fn a_fallback_is_report_instead_of_waiting_for_a_long_retry_after() {
    let busy = answer("429 Too Many", "Retry-After: 30\r\n", "{}");
    let double = Double::new([busy]).await;
    let (report, _) = whole(&with_stub(&double.url, &[]), &request()).await;
    assert_eq!((report.provider, report.attempts), ("local_stub", 2));
}

#[tokio::test]
async fn no_fallback_is_report_after_the_first_delta() {
    let piece = json!({ "choices": [{ "delta": { "content": "Hello" } }] });
    let double = Double::new([cut_stream(&format!("data: {piece}\n\n"))]).await;
    let (report, text, _) = streamed(&with_stub(&double.url, &[]), &request()).await;
    assert_eq!((report.provider, report.attempts), ("openai", 1));
    assert_eq!((report.result.err(), text.as_str()), (Some(LlmError::BrokenOff), "Hello"));
}

#[tokio::test]
async fn the_failure_of_the_first_provider_is_reported_if_no_fallback_can_be_report() {
    let double = Double::new(failing(3)).await;
    let llm = llm(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &double.url),
        ("MLSDM__LLM__FALLBACKS", "anthropic:claude"),
        ("MLSDM__LLM__ANTHROPIC__BASE_URL", "http://127.0.0.1:9"),
    ]);
    // Anthropic's API has no such field
    let request = with_fields(Dialect::OpenAi, json!({ "logprobs": true }));
    let (report, _) = whole(&llm, &request).await;
    assert_eq!(report.provider, "openai");
    assert_eq!(report.result.err(), Some(LlmError::Upstream { status: 500 }));
}

/// Two servers of chat completions: the second is the fallback of the first.
fn with_fallback(first: &Double, second: &Double) -> Llm {
    let providers =
        json!([{ "name": "second", "dialect": "openai", "base_url": second.url }]).to_string();
    llm(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &first.url),
        ("MLSDM__LLM__PROVIDERS", &providers),
        ("MLSDM__LLM__FALLBACKS", "second:m-2"),
        ("MLSDM__LLM__RETRY__ATTEMPTS", "1"),
    ])
}

fn refusal(line: &str, code: &str) -> mlsdm::testkit::double::Act {
    answer(line, "", &json!({ "error": { "code": code, "message": "no" } }).to_string())
}

#[tokio::test]
async fn a_refusal_is_reported_although_a_fallback_fails_in_another_way() {
    let too_long = || refusal("400 Bad Request", "context_length_exceeded");
    for fallback in [
        failing(1).remove(0),
        refusal("401 Unauthorized", "invalid_api_key"),
        refusal("404 Not Found", "model_not_found"),
    ] {
        let (first, second) = (Double::new([too_long()]).await, Double::new([fallback]).await);
        let (report, _) = whole(&with_fallback(&first, &second), &request()).await;
        assert_eq!((report.provider, report.attempts, second.times()), ("openai", 2, 1));
        let error = report.result.err().unwrap();
        assert_eq!(error.provider_error().unwrap().code, "context_length_exceeded");
    }
}

#[tokio::test]
async fn a_refusal_by_a_fallback_is_reported_after_a_failure() {
    let first = Double::new(failing(1)).await;
    let second = Double::new([refusal("413 Content Too Large", "request_too_large")]).await;
    let (report, _) = whole(&with_fallback(&first, &second), &request()).await;
    assert_eq!((report.provider, report.attempts), ("second", 2));
    assert!(matches!(report.result, Err(LlmError::Refused { status: 413, .. })));
}

#[tokio::test]
async fn an_engine_can_have_its_own_model() {
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
    let breakers: Vec<String> = llm.breakers().into_keys().collect();
    assert_eq!(breakers, ["local_stub", "openai:m-2", "openai:other"]);
}

#[tokio::test]
async fn a_request_may_name_only_listed_models() {
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
    assert!(whole(&llm, &naming("m-1")).await.0.result.is_ok(), "the configured model");
    assert_eq!(llm.models(), ["m-1", "m-2", "m-3"]);
    assert_eq!(
        llm.price("m-1"),
        Some(Price { input: 2_500_000, output: 10_000_000, cached_input: None })
    );
    assert_eq!(llm.price("m-2"), None);
}

#[tokio::test]
async fn a_listed_model_is_requested_from_the_provider_that_has_it() {
    let (openai, vllm) = (Double::new([completion("openai")]), Double::new([completion("vllm")]));
    let (openai, vllm) = (openai.await, vllm.await);
    let providers = json!([{
        "name": "vllm", "dialect": "openai", "base_url": vllm.url, "headers": { "x-team": "a" },
    }]);
    let llm = llm(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &openai.url),
        ("MLSDM__LLM__PROVIDERS", &providers.to_string()),
        ("MLSDM__LLM__MODELS", "vllm:llama-*"),
    ]);
    let naming = |model: &str| Request { model: Some(model.to_owned()), ..request() };
    let (report, sink) = whole(&llm, &naming("llama-3")).await;
    assert_eq!((report.provider, sink.text()), ("vllm", "vllm"));
    assert_eq!(report.model.as_deref(), Some("llama-3"));
    let (report, sink) = whole(&llm, &request()).await;
    assert_eq!((report.provider, sink.text()), ("openai", "openai"));
    let breakers: Vec<String> = llm.breakers().into_keys().collect();
    assert_eq!(breakers, ["openai:m-1", "openai:other", "vllm"]);
}

#[tokio::test]
async fn the_failures_of_one_model_do_not_open_the_breaker_of_another() {
    let acts = failing(4).into_iter().chain([completion("m-2")]);
    let double = Double::new(acts).await;
    let llm = llm(&[
        ("LLM_BACKEND", "openai"),
        ("MLSDM__LLM__OPENAI__BASE_URL", &double.url),
        ("MLSDM__LLM__MODELS", "m-2,gpt-*"),
        ("MLSDM__LLM__RETRY__ATTEMPTS", "1"),
        ("MLSDM__LLM__BREAKER__FAILURES", "2"),
    ]);
    let naming = |model: &str| Request { model: Some(model.to_owned()), ..request() };
    for model in ["m-1", "m-1", "gpt-a", "gpt-b"] {
        let failed = whole(&llm, &naming(model)).await.0.result;
        assert_eq!(failed.err(), Some(LlmError::Upstream { status: 500 }));
    }
    let states = llm.breaker_states();
    let states = states.iter().map(|it| (it.model.as_str(), it.state.name(), it.configured));
    let expected = [("m-1", "open", true), ("m-2", "closed", false), ("other", "open", false)];
    assert_eq!(states.collect::<Vec<_>>(), expected);
    assert_eq!(whole(&llm, &naming("m-2")).await.1.text(), "m-2");
    let shared = whole(&llm, &naming("gpt-c")).await.0.result;
    assert!(
        matches!(shared.err(), Some(LlmError::BreakerOpen { .. })),
        "one for all unknown models"
    );
    assert_eq!(double.times(), 5);
}
