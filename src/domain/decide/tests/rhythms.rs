//! The wake/sleep rhythm over complete steps.

use super::{Log, admission, answer};
use crate::domain::{
    command::Admit,
    decide::tests::driver::small_policy,
    event::{Event, RejectReason, StepRejected},
    policy::{Adaptation, Policy, Preset, Rhythm, SleepMode},
    rhythm::Phase::{self, Sleep, Wake},
};

fn policy(wake_duration: u32, sleep_duration: u32, sleep_mode: SleepMode) -> Policy {
    let rhythm = Rhythm { wake_duration, sleep_duration, sleep_mode, ..Rhythm::default() };
    Policy { rhythm, ..small_policy() }
}

fn rejected(events: &[Event]) -> &StepRejected {
    let [Event::StepRejected(event)] = events else { panic!("{events:?}") };
    event
}

/// Sends an acceptable request; returns true if it was admitted.
fn request(log: &mut Log) -> bool {
    let before = log.state.counts.accepted;
    log.admit(admission(1)).unwrap();
    if log.state.counts.accepted == before {
        return false;
    }
    let step = log.state.step;
    if step.is_multiple_of(7) {
        log.fail(step).unwrap();
    } else {
        log.complete(answer(step, step)).unwrap();
    }
    true
}

#[test]
fn ten_thousand_steps_never_stall_the_rhythm() {
    let presets = [Preset::Balanced, Preset::Throughput, Preset::Consolidating];
    let mut durations: Vec<(u32, u32)> = presets.map(Preset::durations).into();
    durations.extend([0, 1, 3, 5].map(|sleep| (8, sleep)));
    durations.push((1, 0));
    durations.push((1, 1));
    for mode in [SleepMode::Short, SleepMode::Refuse] {
        for &(wake, sleep) in &durations {
            let mut log = Log::of(Policy { capacity: 50, ..policy(wake, sleep, mode) });
            let (mut admitted, mut refused_in_a_row) = (0, 0);
            for _ in 0..10_000 {
                if request(&mut log) {
                    admitted += 1;
                    refused_in_a_row = 0;
                } else {
                    refused_in_a_row += 1;
                }
                assert!(refused_in_a_row <= sleep, "locked up with {mode:?} {wake}/{sleep}");
                // the rows are not needed here
                log.rows.truncate(1);
            }
            let cycle = wake + sleep;
            let expected = match mode {
                SleepMode::Short => 10_000,
                SleepMode::Refuse => 10_000 / cycle * wake + (10_000 % cycle).min(wake),
            };
            assert_eq!(admitted, expected, "{mode:?} {wake}/{sleep}");
        }
    }
}

#[test]
fn the_first_prompt_in_sleep_is_answered() {
    let mut log = Log::of(policy(8, 3, SleepMode::Refuse));
    let answered: Vec<bool> = (0..22).map(|_| request(&mut log)).collect();
    let cycle = [[true; 8].as_slice(), &[false; 3]].concat();
    assert_eq!(answered, cycle.repeat(2));
}

#[test]
fn a_moral_rejection_does_not_tick_and_a_sleep_rejection_does() {
    let mut log = Log::of(policy(1, 2, SleepMode::Refuse));
    let awake = log.state.rhythm;
    let bad = |log: &mut Log| {
        let events = log.admit(Admit { caller_score: Some(0.1), ..admission(1) });
        rejected(&events.unwrap()).clone()
    };
    let refusal = bad(&mut log);
    assert_eq!((refusal.reason, refusal.tick), (RejectReason::Moral, None));
    assert_eq!(log.state.rhythm, awake);
    log.admitted(2);
    let asleep = log.state.rhythm;
    assert_eq!((asleep.phase, asleep.counter), (Phase::Sleep, 2));
    // the moral verdict precedes the rhythm in sleep as well
    let refusal = bad(&mut log);
    assert_eq!((refusal.reason, refusal.tick), (RejectReason::Moral, None));
    assert_eq!(log.state.rhythm, asleep);
    let events = log.admit(admission(2)).unwrap();
    let refusal = rejected(&events);
    assert_eq!((refusal.reason, refusal.phase), (RejectReason::Sleep, Phase::Sleep));
    assert_eq!(refusal.tick, Some(log.state.rhythm));
    assert_eq!(log.state.rhythm.counter, 1);
    log.assert_replays();
}

#[test]
fn a_rejection_in_sleep_moves_the_filter() {
    let mut with_sleep = policy(1, 3, SleepMode::Refuse);
    with_sleep.moral.adaptation = Adaptation::Homeostatic;
    let mut log = Log::of(with_sleep);
    log.admitted(1);
    let before = log.state.filter.ema();
    log.admit(admission(1)).unwrap();
    assert!(log.state.filter.ema() > before);
}

#[test]
fn a_step_runs_in_the_phase_before_its_tick() {
    let mut log = Log::of(policy(2, 2, SleepMode::Short));
    let phases: Vec<Phase> = (0..8).map(|_| log.admitted(1).0.phase).collect();
    assert_eq!(phases, [Wake, Wake, Sleep, Sleep, Wake, Wake, Sleep, Sleep]);
}

#[test]
fn the_phase_limits_the_granted_tokens() {
    let mut log = Log::of(policy(1, 1, SleepMode::Short));
    let mut granted = |asked, shortenable| {
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let request = Admit { max_tokens: asked, shortenable, ..admission(1) };
            let events = log.admit(request).unwrap();
            let [Event::StepAdmitted(event)] = &events[..] else { panic!("{events:?}") };
            assert_eq!(event.request.max_tokens_asked, asked);
            tokens.push(event.request.max_tokens);
        }
        tokens
    };
    // awake, asleep
    assert_eq!(granted(None, true), [2048, 150]);
    assert_eq!(granted(Some(100), true), [100, 100]);
    assert_eq!(granted(Some(500), true), [500, 150]);
    assert_eq!(granted(Some(9_999), true), [2048, 150]);
    assert_eq!(granted(None, false), [2048, 2048]);
    assert_eq!(granted(Some(500), false), [500, 500]);
}

#[test]
fn complete_steps_follow_the_golden_moral_stream() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/golden/moral.json")).unwrap();
    for (name, stream) in golden["streams"].as_object().unwrap() {
        let mut homeostatic = small_policy();
        homeostatic.moral.adaptation = Adaptation::Homeostatic;
        homeostatic.moral.initial_threshold = stream["threshold0"].as_f64().unwrap();
        let mut log = Log::of(homeostatic);
        for (i, value) in stream["values"].as_array().unwrap().iter().enumerate() {
            let request = Admit { caller_score: value.as_f64(), ..admission(i as u128 % 3) };
            let events = log.admit(request).unwrap();
            let accepted = matches!(events[0], Event::StepAdmitted(_));
            assert_eq!(accepted, stream["accepted"][i].as_u64() == Some(1), "{name} {i}");
            let bits = |key: &str| stream[key][i].as_f64().unwrap().to_bits();
            assert_eq!(log.state.threshold(None).to_bits(), bits("threshold"), "{name} {i}");
            assert_eq!(log.state.filter.ema().to_bits(), bits("ema"), "{name} {i}");
        }
        log.assert_replays();
    }
}
