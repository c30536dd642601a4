//! The checker finds what it exists for, planted in a good log.

use std::time::{Duration, Instant};

use super::{Violation, Wasted, check, wasted};
use crate::{
    call::{Call, Outcome, Receipt},
    log::Event,
    model::Answers,
};

const STEPS: u64 = 4;

/// Four calls, one after another, and their log: an admission and an ending each.
struct World {
    calls: Vec<Call>,
    events: Vec<Event>,
}

fn event(position: u64, kind: &str, step: u64) -> Event {
    Event {
        position,
        kind: kind.to_owned(),
        step: Some(step),
        request_id: Some(format!("request-{step}")),
        call: Some(step),
        recorded_at: i128::from(position),
        chain_hash: format!("hash-{position}"),
        stage: None,
    }
}

fn call(number: u64, start: Instant) -> Call {
    let began = start + Duration::from_millis(10 * number);
    let receipt = Receipt {
        position: 2 * number,
        step: number,
        id: format!("request-{number}"),
        chain_hash: format!("hash-{}", 2 * number),
        accepted: true,
        digest: number,
    };
    Call {
        number,
        prompt: number,
        keyed: false,
        replica: 0,
        began,
        ended: began + Duration::from_millis(5),
        silence: Duration::ZERO,
        outcome: Outcome::Answered(receipt),
    }
}

fn world() -> World {
    let start = Instant::now();
    let events = (1..=STEPS).flat_map(|step| {
        [event(2 * step - 1, "step.admitted", step), event(2 * step, "step.completed", step)]
    });
    World {
        calls: (1..=STEPS).map(|number| call(number, start)).collect(),
        events: events.collect(),
    }
}

impl World {
    fn violations(&self) -> Vec<Violation> {
        check(&self.calls, &self.events)
    }

    fn fail(&mut self, step: u64, stage: &str) {
        let ending = &mut self.events[2 * step as usize - 1];
        "step.failed".clone_into(&mut ending.kind);
        ending.stage = Some(stage.to_owned());
        self.calls[step as usize - 1].outcome =
            Outcome::Refused { status: 503, code: "E401".to_owned() };
    }

    fn wasted(&self, answers: &[(u64, u32)], killed: bool) -> Wasted {
        let answers: Answers = answers.iter().copied().collect();
        wasted(&self.calls, &self.events, &answers, |_| killed)
    }
}

#[test]
fn a_good_log_has_no_violation() {
    assert_eq!(world().violations(), []);
}

#[test]
fn an_answer_whose_event_is_missing_is_found() {
    let mut world = world();
    world.events.truncate(6);
    let lost = Violation::Lost { call: 4, why: "the log ends before its position" };
    assert_eq!(world.violations(), [lost]);
}

#[test]
fn an_answer_with_another_event_than_it_was_told_is_found() {
    type Change = (fn(&mut Event), &'static str);
    let changes: [Change; 4] = [
        (|event| event.chain_hash.push('x'), "another hash"),
        (|event| event.step = Some(9), "another step"),
        (|event| event.request_id = None, "another request"),
        (|event| "step.failed".clone_into(&mut event.kind), "another type"),
    ];
    for (change, why) in changes {
        let mut world = world();
        change(&mut world.events[3]);
        let lost = Violation::Lost { call: 2, why };
        assert!(world.violations().contains(&lost), "{why}: {:?}", world.violations());
    }
}

#[test]
fn a_missing_position_is_found() {
    let mut world = world();
    world.events.remove(4);
    assert!(world.violations().contains(&Violation::Gap { position: 5 }));
}

#[test]
fn a_time_that_falls_is_found() {
    let mut world = world();
    world.events[5].recorded_at = 2;
    assert_eq!(world.violations(), [Violation::Time { position: 6 }]);
}

#[test]
fn a_second_ending_and_a_missing_ending_are_found() {
    let mut world = world();
    world.events.push(event(9, "step.failed", 3));
    world.events.push(event(10, "step.admitted", 5));
    let expected = [Violation::Ending { step: 3 }, Violation::Ending { step: 5 }];
    assert_eq!(world.violations(), expected);
}

#[test]
fn a_request_with_two_steps_is_found() {
    let mut world = world();
    for (position, kind) in [(9, "step.admitted"), (10, "step.completed")] {
        let second = event(position, kind, 5);
        world.events.push(Event { request_id: Some("request-1".to_owned()), ..second });
    }
    let doubled = Violation::Doubled { what: "request request-1".to_owned() };
    assert_eq!(world.violations(), [doubled]);
}

#[test]
fn a_key_with_two_steps_and_two_answers_is_found() {
    let mut world = world();
    for call in &mut world.calls[1..3] {
        call.keyed = true;
        call.prompt = 2;
    }
    let doubled = Violation::Doubled { what: "2 steps for key 2".to_owned() };
    assert_eq!(world.violations(), [doubled, Violation::Unequal { prompt: 2 }]);
}

#[test]
fn a_failed_step_and_a_good_one_may_share_a_key() {
    let mut world = world();
    for call in &mut world.calls[1..3] {
        call.keyed = true;
        call.prompt = 2;
    }
    world.fail(2, "llm");
    assert_eq!(world.violations(), []);
}

#[test]
fn a_later_call_with_an_earlier_position_is_found() {
    let mut world = world();
    world.calls.swap(0, 2);
    let (first, third) = (world.calls[2].began, world.calls[0].began);
    for (call, began) in [(0, first), (2, third)] {
        world.calls[call].began = began;
        world.calls[call].ended = began + Duration::from_millis(5);
    }
    let order = |later| Violation::Order { earlier: 3, later };
    assert_eq!(world.violations(), [order(2), Violation::Order { earlier: 3, later: 1 }]);
}

#[test]
fn calls_at_the_same_time_may_have_any_order() {
    let mut world = world();
    let start = world.calls[0].began;
    for call in &mut world.calls {
        call.began = start;
    }
    world.calls.reverse();
    assert_eq!(world.violations(), []);
}

#[test]
fn an_answer_of_the_model_without_a_completed_step_is_wasted() {
    let mut world = world();
    world.fail(2, "abandoned");
    let all = [(1, 1), (2, 1), (3, 1), (4, 1)];
    assert_eq!(world.wasted(&all, false), Wasted { abandoned: 1, answers: 1 });
    assert_eq!(world.wasted(&all, true), Wasted { abandoned: 1, answers: 0 }, "it died with it");
    let unasked = [(1, 1), (3, 1), (4, 1)];
    assert_eq!(world.wasted(&unasked, false), Wasted { abandoned: 1, answers: 0 });
    world.fail(2, "cancelled");
    assert_eq!(world.wasted(&all, false), Wasted::default());
}
