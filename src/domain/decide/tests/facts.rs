//! The facts of a step: recorded in a log of format 2, and not in one of format 1.

use serde_json::{Value, json};

use super::{Log, admission, answer};
use crate::{
    domain::{
        budget::{Cost, Price},
        command::{Admit, Command, Complete, Fail, Judged, Refusal},
        decide::tests::driver::small_policy,
        event::{
            Auth, AuthScheme, CALLS_MAX, ContextHit, ContextUse, Event, FailStage, HITS_MAX,
            HitOutcome, Latency, ModelCall, SCORERS_MAX, Sampling, ScorerResult, StepAdmitted,
            StepFailed, StepRejected, Usage, VerdictSource,
        },
        ids::{KeyId, ReplicaId},
        policy::JudgedScope,
    },
    store::codec,
};

pub(super) const REPLICA: ReplicaId = ReplicaId([7; 8]);
const PRICE: Price = Price { input: 3_000_000, output: 15_000_000, cached_input: None };

pub(super) fn scored(value: f64) -> ScorerResult {
    ScorerResult { id: "lexicon".to_owned(), version: 1, value, parts: [].into() }
}

/// A request with every fact.
pub(super) fn full_request(by: u128) -> Admit {
    Admit {
        scored: vec![scored(0.8), scored(0.7)],
        unavailable: vec!["remote".to_owned()],
        asserted: Some(true),
        judged: Some(Judged { scope: JudgedScope::Turn, chars: 40, hmac: "01".to_owned() }),
        price: Some(PRICE),
        sampling: Some(Sampling { temperature: Some(0.7), top_p: None, seed: Some(-1) }),
        auth: Some(Auth { scheme: AuthScheme::Key, key_id: Some(KeyId::new(5)) }),
        replica: Some(REPLICA),
        ..admission(by)
    }
}

pub(super) fn call(model: &str) -> ModelCall {
    let (provider, code) = ("test".to_owned(), "ok".to_owned());
    let sampling = Some(Sampling { temperature: Some(0.7), ..Sampling::default() });
    let (status, provider_code, cause) = (None, None, None);
    let model = model.to_owned();
    ModelCall { provider, model, code, ms: 2.5, sampling, status, provider_code, cause }
}

pub(super) fn full_context() -> ContextUse {
    let hit = ContextHit { position: 3, score: 0.9, outcome: HitOutcome::Used };
    ContextUse { hits: vec![hit], digest: Some("02".to_owned()), ..ContextUse::default() }
}

pub(super) const FULL_USAGE: Usage = Usage {
    prompt_tokens: 100,
    completion_tokens: 20,
    cached_tokens: Some(64),
    reasoning_tokens: Some(8),
};

/// An answer with every fact.
pub(super) fn full_answer(step: u64, seed: u64) -> Complete {
    Complete {
        usage: FULL_USAGE,
        calls: vec![call("test-1")],
        price: Some(PRICE),
        context: full_context(),
        ..answer(step, seed)
    }
}

/// A failure with every fact.
pub(super) fn full_failure(step: u64) -> Fail {
    Fail {
        attempts: 1,
        usage: FULL_USAGE,
        context: Some(full_context()),
        provider: Some("test".to_owned()),
        model: Some("test-1".to_owned()),
        latency: Some(Latency { total_ms: 9.0, ..Latency::default() }),
        calls: vec![call("test-1")],
        price: Some(PRICE),
        ..Fail::new(step, FailStage::Llm, "timeout".to_owned(), 9.0)
    }
}

fn admitted(log: &mut Log, request: Admit) -> StepAdmitted {
    let events = log.admit(request).unwrap();
    let Some(Event::StepAdmitted(event)) = events.into_iter().next() else { panic!("rejected") };
    *event
}

fn rejected(log: &mut Log, request: Admit) -> StepRejected {
    let events = log.admit(request).unwrap();
    let Some(Event::StepRejected(event)) = events.into_iter().next() else { panic!("admitted") };
    *event
}

fn failed(log: &mut Log, fail: Fail) -> StepFailed {
    let events = log.when(&Command::Fail(Box::new(fail))).unwrap();
    let Some(Event::StepFailed(event)) = events.into_iter().next() else { panic!("not failed") };
    *event
}

fn payload(event: &Event) -> Value {
    serde_json::from_slice(&codec::encode(event).unwrap().payload).unwrap()
}

#[test]
fn a_log_of_format_1_records_exactly_what_version_0_1_recorded() {
    let mut log = Log::of_format(1, small_policy());
    let event = admitted(&mut log, full_request(1));
    let deadline = event.deadline;
    assert_eq!(
        payload(&Event::StepAdmitted(Box::new(event))),
        json!({
            "request": {
                "route": "/v1/generate", "max_tokens": 2048, "shortenable": true, "top_k": 5,
                "prompt_chars": 11, "prompt_hmac": "00",
            },
            "moral": {
                "caller": 0.9, "scorer": {"id": "lexicon", "version": 1, "value": 0.7, "parts": {}},
                "value": 0.9, "source": "caller", "threshold_before": 0.5, "threshold_after": 0.5,
                "ema_before": 0.0, "ema_after": 0.0, "subject_ema_before": 0.0,
                "subject_ema_after": 0.0,
            },
            "phase": "wake", "tick": {"phase": "wake", "counter": 7}, "deadline": deadline,
            "policy_version": 1,
        })
    );
    let event = log.complete(full_answer(1, 1)).unwrap();
    let context = json!({"view": 0, "phase": 0.0, "candidates": 0, "used": [], "chars": 0});
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20});
    let completed = payload(&Event::StepCompleted(Box::new(event)));
    assert_eq!((&completed["context"], &completed["usage"]), (&context, &usage));
    let mut names: Vec<&str> = completed.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names.join(" "),
        "admitted_position answer attempts confidence context cut finish_reason latency memory \
         model provider quality trace_norms usage withheld"
    );
    let event = rejected(&mut log, Admit { caller_score: Some(0.1), ..full_request(1) });
    assert_eq!((event.policy_hash, event.replica, event.request.auth), (None, None, None));
    admitted(&mut log, full_request(1));
    let event = failed(&mut log, full_failure(3));
    assert_eq!(
        payload(&Event::StepFailed(Box::new(event))),
        json!({
            "admitted_position": 5, "stage": "llm", "code": "timeout", "latency_ms": 9.0,
            "attempts": 1, "usage": usage,
        })
    );
}

#[test]
fn a_log_of_format_2_records_who_asked_and_what_was_judged() {
    let mut log = Log::new();
    let request = full_request(1);
    let event = admitted(&mut log, request.clone());
    let hash = log.state.policy_hash.to_string();
    assert_eq!(event.policy_hash.unwrap().to_string(), hash[..16]);
    assert_eq!(
        (event.replica, log.state.open.get(&1).unwrap().replica),
        (Some(REPLICA), Some(REPLICA))
    );
    assert_eq!((event.request.sampling, event.request.auth), (request.sampling, request.auth));
    assert_eq!((event.request.prompt_tokens, event.request.price), (Some(3), Some(PRICE)));
    assert_eq!((event.moral.scorer.as_ref(), &event.moral.scorers), (None, &request.scored));
    assert_eq!(event.moral.unavailable, ["remote"]);
    assert_eq!((event.moral.asserted, event.moral.scope), (Some(true), Some(JudgedScope::Turn)));
    assert_eq!(event.moral.judged_chars, Some(40));
    let event = rejected(&mut log, Admit { caller_score: Some(0.1), ..full_request(1) });
    assert_eq!((event.replica, event.request.auth), (Some(REPLICA), request.auth));
    assert_eq!(event.moral.judged_hmac.as_deref(), Some("01"));
    log.assert_replays();
}

#[test]
fn a_log_of_format_2_records_what_an_answer_and_a_failure_cost() {
    let mut log = Log::new();
    admitted(&mut log, full_request(1));
    let completed = log.complete(full_answer(1, 1)).unwrap();
    assert_eq!(completed.cost, Some(Cost { micro_usd: 600, price: PRICE }));
    assert_eq!((completed.usage, completed.calls), (FULL_USAGE, vec![call("test-1")]));
    assert_eq!(completed.context, full_context());
    // the price of the model that answered counts, if it is another one
    let other = Price { input: 1_000_000, output: 0, cached_input: None };
    admitted(&mut log, full_request(1));
    let completed = log.complete(Complete { price: Some(other), ..full_answer(2, 2) }).unwrap();
    assert_eq!(completed.cost, Some(Cost { micro_usd: 100, price: other }));
    admitted(&mut log, full_request(1));
    let event = failed(&mut log, full_failure(3));
    assert_eq!(event.cost, Some(Cost { micro_usd: 600, price: PRICE }));
    assert_eq!((event.context, event.calls), (Some(full_context()), vec![call("test-1")]));
    assert_eq!((event.provider.as_deref(), event.model.as_deref()), (Some("test"), Some("test-1")));
    assert_eq!(event.latency.unwrap().total_ms.to_bits(), 9.0_f64.to_bits());
    // a fallback without a price has no cost, though the requested model has a price
    admitted(&mut log, full_request(1));
    let completed = log.complete(Complete { price: None, ..full_answer(4, 4) }).unwrap();
    assert_eq!(completed.cost, None);
    log.assert_replays();
}

#[test]
fn facts_from_a_provider_are_bounded_in_a_log_of_format_2() {
    let mut log = Log::new();
    admitted(&mut log, full_request(1));
    let too_long = "é".repeat(10_000);
    let hits = vec![full_context().hits[0]; HITS_MAX + 1];
    let completed = log
        .complete(Complete {
            model: too_long.clone(),
            finish_reason: too_long.clone(),
            calls: [vec![call(&too_long); CALLS_MAX], vec![call("answered")]].concat(),
            context: ContextUse { hits, ..full_context() },
            ..full_answer(1, 1)
        })
        .unwrap();
    assert_eq!(completed.calls.last().unwrap().model, "answered");
    let lengths = [&completed.model, &completed.finish_reason, &completed.calls[0].model];
    assert_eq!(lengths.map(|text| text.chars().count()), [256; 3]);
    assert_eq!((completed.calls.len(), completed.context.hits.len()), (CALLS_MAX, HITS_MAX));
    assert!(codec::encode(&Event::StepCompleted(Box::new(completed))).is_ok());
}

#[test]
fn the_lowest_of_several_scores_counts() {
    let mut log = Log::new();
    let scores = vec![scored(0.8), scored(0.2), scored(0.6)];
    let request = Admit { caller_score: None, scored: scores.clone(), ..admission(1) };
    let event = rejected(&mut log, request);
    assert_eq!(
        (event.moral.value.to_bits(), event.moral.source),
        (0.2_f64.to_bits(), VerdictSource::Scorer)
    );
    assert!(event.moral.scorer_results().eq(&scores));
    let mut old = Log::of_format(1, small_policy());
    let event = rejected(&mut old, Admit { caller_score: None, scored: scores, ..admission(1) });
    assert!(event.moral.scorer_results().eq([&scored(0.2)]), "format 1 records one result");
}

#[test]
fn more_results_of_scorers_than_an_event_records_are_refused() {
    let mut log = Log::new();
    let request = Admit { scored: vec![scored(0.8); SCORERS_MAX + 1], ..admission(1) };
    let refused = log.admit(request).unwrap_err();
    assert!(matches!(refused, Refusal::FactBound { field: "moral.scorers", .. }), "{refused}");
    assert_eq!(log.state.position, 1);
}
