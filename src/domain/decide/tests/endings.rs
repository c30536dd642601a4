//! Endings: the first one wins, a step is not abandoned before its deadline, and a shutdown lets
//! running steps end.

use super::{Log, admission, answer, vector};
use crate::domain::{
    command::{AbandonCause, Admit, Command, Complete, Refusal},
    decide::tests::driver::{DEADLINE, small_policy},
    event::{Event, FailStage},
    moral::ScoreError,
    policy::{Policy, ScorerId},
    state::StepCounts,
    vector::UnitVector,
};

#[test]
fn the_first_ending_wins() {
    let mut log = Log::new();
    let late = |log: &mut Log, step| {
        let before = log.state.position;
        let refused = Refusal::NotOpen { step };
        assert_eq!(log.complete(answer(step, 1)).unwrap_err(), refused);
        assert_eq!(log.fail(step).unwrap_err(), refused);
        assert_eq!(log.abandon(step, AbandonCause::SoleOwner).unwrap_err(), refused);
        assert_eq!(log.state.position, before);
    };
    late(&mut log, 1);
    log.step(1, 1);
    late(&mut log, 1);
    log.admitted(1);
    log.fail(2).unwrap();
    late(&mut log, 2);
    log.admitted(1);
    log.abandon(3, AbandonCause::SoleOwner).unwrap();
    late(&mut log, 3);
    let counts = StepCounts { accepted: 3, rejected: 0, failed: 2, completed: 1 };
    assert_eq!(log.state.counts, counts);
}

#[test]
fn a_step_is_abandoned_only_after_its_deadline() {
    let mut log = Log::new();
    let (admitted, _) = log.admitted(1);
    assert_eq!(admitted.deadline, log.now + DEADLINE);
    log.now = admitted.deadline - 1_000;
    let refused = Refusal::NotExpired { step: 1, deadline: admitted.deadline };
    assert_eq!(log.abandon(1, AbandonCause::Deadline).unwrap_err(), refused);
    assert_eq!(log.state.expired(admitted.deadline).count(), 0);
    assert_eq!(log.state.expired(admitted.deadline + 1).collect::<Vec<_>>(), [1]);
    let events = log.abandon(1, AbandonCause::Deadline).unwrap();
    let [Event::StepFailed(failed)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((failed.stage, failed.code.as_str()), (FailStage::Abandoned, "deadline"));
    assert_eq!(failed.admitted_position, 2);
}

#[test]
fn a_sole_owner_abandons_at_once() {
    let mut log = Log::new();
    log.admitted(1);
    let events = log.abandon(1, AbandonCause::SoleOwner).unwrap();
    let [Event::StepFailed(failed)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((failed.stage, failed.code.as_str()), (FailStage::Abandoned, "sole_owner"));
    assert!(log.state.open.is_empty());
}

#[test]
fn a_shutdown_admits_nothing_and_lets_running_steps_end() {
    let mut log = Log::new();
    log.admitted(1);
    log.admitted(2);
    assert!(matches!(&log.shutdown()[..], [Event::EngineShutdown(act)] if act.reason == "a test"));
    assert_eq!(log.state.shutdown.as_ref().unwrap().since, log.now);
    assert_eq!(log.shutdown(), [], "no event if repeated");
    let before = log.state.position;
    let refused = Refusal::Shutdown { reason: "a test".to_owned() };
    assert_eq!(log.admit(admission(3)).unwrap_err(), refused);
    assert_eq!(log.state.position, before, "a refusal records no event");
    log.complete(answer(1, 1)).unwrap();
    log.fail(2).unwrap();
    assert!(matches!(&log.resume()[..], [Event::EngineResumed(_)]));
    assert_eq!(log.resume(), [], "no event if repeated");
    log.step(3, 3);
    assert_eq!(log.state.step, 3);
    log.assert_replays();
}

#[test]
fn a_request_without_a_valid_score_starts_no_step() {
    let unscored = || {
        Log::of({
            let mut policy: Policy = small_policy();
            policy.moral.scorer = ScorerId::None;
            policy
        })
    };
    for (score, error) in [
        (None, ScoreError::Missing),
        (Some(f64::NAN), ScoreError::OutOfRange),
        (Some(-0.01), ScoreError::OutOfRange),
        (Some(1.01), ScoreError::OutOfRange),
    ] {
        let mut log = unscored();
        let request = Admit { caller_score: score, ..admission(1) };
        assert_eq!(log.admit(request).unwrap_err(), Refusal::Score(error));
        assert_eq!((log.state.position, log.state.step), (1, 0));
    }
}

#[test]
fn a_vector_of_a_different_dimension_is_refused() {
    let mut log = Log::new();
    log.admitted(1);
    let short = UnitVector::normalise(&[1.0, 2.0], 2).unwrap();
    let complete = Complete { vector: Some(short), ..answer(1, 1) };
    let refused = Refusal::Dimension { expected: vector(1).as_slice().len(), found: 2 };
    assert_eq!(log.complete(complete).unwrap_err(), refused);
    assert!(log.state.open.contains_key(&1), "the step is still open");
}

#[test]
fn an_attestation_records_the_digest_before_it() {
    let mut log = Log::new();
    log.step(1, 1);
    let before = crate::domain::digest::state(&log.state).to_string();
    let events = log.when(&Command::Attest).unwrap();
    assert!(matches!(&events[..], [Event::StateAttested(attested)] if attested.digest == before));
    assert_eq!(log.state.attested, log.state.position);
}
