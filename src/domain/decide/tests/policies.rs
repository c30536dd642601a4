//! Changes of the policy of an existing engine.

use super::{Log, admission, subject};
use crate::domain::{
    command::{Admit, ChangePolicy, Command, Refusal},
    decide::tests::driver::small_policy,
    event::Event,
    policy::{Adaptation, CallerScore, Policy, ScorerId},
    rhythm::Phase::{self, Sleep, Wake},
};

fn request_with(log: &mut Log, by: u128, value: f64) {
    log.admit(Admit { caller_score: Some(value), ..admission(by) }).unwrap();
}

type Change = fn(&mut Policy);

fn homeostatic() -> Policy {
    let mut policy = small_policy();
    policy.moral.adaptation = Adaptation::Homeostatic;
    policy
}

#[test]
fn dimension_and_embedder_are_fixed() {
    let mut log = Log::new();
    let refused = log.change(|policy| policy.dimension += 1).unwrap_err();
    assert_eq!(refused, Refusal::Fixed { field: "dimension" });
    assert!(refused.to_string().contains("mlsdm engine migrate"));
    let refused = log.change(|policy| policy.embedder.version += 1).unwrap_err();
    assert_eq!(refused, Refusal::Fixed { field: "embedder" });
    assert_eq!((log.state.position, log.state.policy_version), (1, 1));
}

#[test]
fn a_policy_out_of_bounds_is_refused() {
    let changes: [(&str, Change); 6] = [
        ("capacity", |p| p.capacity = 0),
        ("rhythm.wake_duration", |p| p.rhythm.wake_duration = 0),
        ("moral.initial_threshold", |p| p.moral.min_threshold = 0.6),
        ("moral.ema_alpha", |p| p.moral.ema_alpha = f64::NAN),
        ("context.top_k", |p| p.context.top_k = 21),
        ("moral.caller_score", |p| {
            p.moral.scorer = ScorerId::None;
            p.moral.caller_score = CallerScore::Min;
        }),
    ];
    for (field, change) in changes {
        let mut log = Log::new();
        let refused = log.change(change).unwrap_err();
        assert!(matches!(&refused, Refusal::Policy(error) if error.field == field), "{refused}");
    }
}

#[test]
fn an_unchanged_policy_records_no_event() {
    let mut log = Log::new();
    assert_eq!(log.change(|_| {}).unwrap(), []);
}

#[test]
fn the_first_configuration_is_recorded_even_if_it_changes_nothing() {
    let mut log = Log::new();
    let config = (*log.state.policy).clone();
    let command = Command::ChangePolicy(Box::new(ChangePolicy {
        policy: config.clone(),
        actor: "config".to_owned(),
        reason: "a test".to_owned(),
        config: Some(config.clone()),
        evidence: None,
    }));
    assert_eq!(log.when(&command).unwrap().len(), 1);
    assert_eq!(log.state.config.as_deref(), Some(&config));
    assert_eq!(log.when(&command).unwrap(), [], "recorded only once");
}

#[test]
fn a_changed_adaptation_restarts_the_filter() {
    let mut log = Log::new();
    request_with(&mut log, 1, 0.0);
    request_with(&mut log, 2, 0.0);
    assert!(log.state.filter.subject_count() == 2 && log.state.filter.ema() > 0.0);
    log.change(|policy| policy.moral.adaptation = Adaptation::Homeostatic).unwrap();
    assert_eq!((log.state.filter.ema(), log.state.threshold(None)), (0.5, 0.5));
    assert_eq!(log.state.filter.subject_count(), 0);
    (0..5).for_each(|_| request_with(&mut log, 1, 1.0));
    assert!(log.state.threshold(None) > 0.5);
    log.change(|policy| policy.moral.adaptation = Adaptation::Vigilant).unwrap();
    assert_eq!((log.state.filter.ema(), log.state.threshold(Some(subject(1)))), (0.0, 0.5));
    log.assert_replays();
}

#[test]
fn changed_bounds_clamp_the_threshold() {
    let mut log = Log::of(homeostatic());
    (0..20).for_each(|_| request_with(&mut log, 1, 1.0));
    assert_eq!(log.state.threshold(None).to_bits(), 0.9_f64.to_bits());
    let ema = log.state.filter.ema();
    log.change(|policy| policy.moral.max_threshold = 0.7).unwrap();
    assert_eq!(log.state.threshold(None).to_bits(), 0.7_f64.to_bits());
    assert_eq!(log.state.filter.ema().to_bits(), ema.to_bits(), "the average is unchanged");
    let mut log = Log::of(homeostatic());
    (0..60).for_each(|_| request_with(&mut log, 1, 0.0));
    assert_eq!(log.state.threshold(None).to_bits(), 0.3_f64.to_bits());
    log.change(|policy| policy.moral.min_threshold = 0.45).unwrap();
    assert_eq!(log.state.threshold(None).to_bits(), 0.45_f64.to_bits());
    log.assert_replays();
}

#[test]
fn changed_durations_apply_from_the_next_phase() {
    let mut log = Log::of({
        let mut policy = small_policy();
        (policy.rhythm.wake_duration, policy.rhythm.sleep_duration) = (3, 2);
        policy
    });
    log.admitted(1);
    log.change(|policy| {
        (policy.rhythm.wake_duration, policy.rhythm.sleep_duration) = (5, 1);
    })
    .unwrap();
    assert_eq!(log.state.rhythm.counter, 2, "the running phase keeps its length");
    let phases: Vec<Phase> = (0..9).map(|_| log.admitted(1).0.phase).collect();
    assert_eq!(phases, [Wake, Wake, Sleep, Wake, Wake, Wake, Wake, Wake, Sleep]);
}

#[test]
fn a_change_is_counted_named_and_reported() {
    let mut log = Log::new();
    let events = log
        .change(|policy| {
            policy.context.top_k = 3;
            policy.moral.share = 0.5;
        })
        .unwrap();
    let [Event::PolicyChanged(changed)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(changed.diff, ["context.top_k", "moral.share"]);
    assert_eq!((changed.actor.as_str(), changed.reason.as_str()), ("operator", "a test"));
    assert_eq!(log.state.policy_version, 2);
    assert_eq!(log.state.policy_hash, changed.policy.hash());
    let (admitted, _) = log.admitted(1);
    assert_eq!((admitted.policy_version, admitted.request.top_k), (2, 3));
}
