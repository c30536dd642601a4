//! The limits of answers by the rule of the request, and answers that must not be remembered.

use super::{Log, admission, answer};
use crate::domain::{
    command::{Admit, Complete},
    decide::tests::driver::small_policy,
    event::{
        Event, LimitedBy, MemoryOutcome, NotStoredReason, RequestFacts, TokenRule, UNLIMITED_TOKENS,
    },
    policy::{MemoryMode, Policy},
};

/// A request on a chat route.
fn chat(max_tokens: Option<u32>, shortenable: bool) -> Admit {
    Admit { max_tokens, shortenable, token_rule: Some(TokenRule::Caller), ..admission(1) }
}

fn facts(log: &mut Log, admit: Admit) -> RequestFacts {
    let events = log.admit(admit).unwrap();
    let [Event::StepAdmitted(event), ..] = &events[..] else { panic!("{events:?}") };
    event.request.clone()
}

/// The granted tokens and their cause, in the wake and in the sleep phase.
fn awake_and_asleep(policy: Policy, admit: &Admit) -> [(u32, Option<LimitedBy>); 2] {
    let mut log = Log::of(policy);
    [(); 2].map(|()| {
        let facts = facts(&mut log, admit.clone());
        (facts.max_tokens, facts.limited_by)
    })
}

fn short_days() -> Policy {
    let mut policy = small_policy();
    (policy.rhythm.wake_duration, policy.rhythm.sleep_duration) = (1, 1);
    policy
}

#[test]
fn the_limit_that_a_chat_names_is_granted_in_both_phases() {
    for shortenable in [true, false] {
        let granted = awake_and_asleep(short_days(), &chat(Some(9_999), shortenable));
        assert_eq!(granted, [(9_999, None); 2]);
    }
}

#[test]
fn the_phase_limits_a_plain_chat_that_names_no_limit() {
    let granted = awake_and_asleep(short_days(), &chat(None, true));
    assert_eq!(granted, [(2_048, None), (150, Some(LimitedBy::Sleep))]);
}

#[test]
fn an_answer_of_a_given_form_has_no_limit_that_nobody_named() {
    let granted = awake_and_asleep(short_days(), &chat(None, false));
    assert_eq!(granted, [(UNLIMITED_TOKENS, None); 2]);
}

#[test]
fn the_sleep_phase_is_named_when_it_lowers_the_limit_of_a_prompt() {
    let generate =
        |max_tokens| Admit { token_rule: Some(TokenRule::Phase), ..chat(max_tokens, true) };
    let limited = Some(LimitedBy::Sleep);
    assert_eq!(awake_and_asleep(short_days(), &generate(Some(500))), [(500, None), (150, limited)]);
    assert_eq!(awake_and_asleep(short_days(), &generate(Some(100))), [(100, None); 2]);
}

#[test]
fn a_budget_lowers_a_named_limit_and_says_so() {
    let mut policy = small_policy();
    policy.budget.tokens = 5_000;
    let mut log = Log::of(policy);
    let named = Admit { prompt_tokens: Some(1_000), ..chat(Some(9_999), false) };
    let facts = facts(&mut log, named);
    assert_eq!((facts.max_tokens, facts.limited_by), (4_000, Some(LimitedBy::Budget)));
}

#[test]
fn a_budget_reserves_an_expected_length_for_an_answer_without_a_limit() {
    let mut policy = small_policy();
    policy.budget.tokens = 5_000;
    let mut log = Log::of(policy);
    let open = Admit { prompt_tokens: Some(1_000), ..chat(None, false) };
    let events = log.admit(open.clone()).unwrap();
    let [Event::StepAdmitted(first)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((first.request.max_tokens, first.request.limited_by), (UNLIMITED_TOKENS, None));
    assert_eq!(first.budget.unwrap().reserved.tokens, 1_000 + 2_048);
    // 1,952 tokens are left for the next one
    let second = facts(&mut log, open);
    assert_eq!((second.max_tokens, second.limited_by), (952, Some(LimitedBy::Budget)));
}

#[test]
fn a_log_of_format_1_keeps_the_limits_of_its_phase_and_records_no_rule() {
    let mut log = Log::of_format(1, short_days());
    let admit = Admit { memory: Some(MemoryMode::Off), ..chat(Some(9_999), true) };
    let facts = facts(&mut log, admit);
    assert_eq!((facts.max_tokens, facts.token_rule), (2_048, None));
    assert_eq!((facts.limited_by, facts.memory), (None, None));
}

#[test]
fn an_answer_that_the_step_forgoes_is_not_remembered() {
    for (format, recorded) in [(2, NotStoredReason::ToolCall), (1, NotStoredReason::Confidence)] {
        let mut log = Log::of_format(format, small_policy());
        log.admitted(1);
        let forgo = Some(NotStoredReason::ToolCall);
        let completed = log.complete(Complete { forgo, vector: None, ..answer(1, 1) }).unwrap();
        assert_eq!(completed.memory, MemoryOutcome::NotStored { why: recorded });
        assert_eq!(log.state.lattice.len(), 0);
        log.assert_replays();
    }
}
