//! Each recorded event of the golden logs leads back to its command, and the command to the event.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Rebuilt, rebuild};
use crate::{
    domain::{
        decide::decide,
        event::{Envelope, Event},
        evolve::{begin, evolve},
        ids::{Micros, Sha256, SubjectRef},
        rules::Rules,
        state::State,
        vector::UnitVector,
    },
    store::{codec, state_fold::DecodedEvent},
};

#[derive(Deserialize)]
struct Golden {
    events: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    #[serde(rename = "recorded_at")]
    at: Micros,
    r#type: String,
    version: u32,
    clear: Box<RawValue>,
    step: Option<u64>,
    subject: Option<u128>,
    seed: Option<u64>,
}

/// The vector with this seed, as in the tests of `decide`.
fn vector(seed: u64) -> UnitVector {
    let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        (bits >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let values: Vec<f32> = (0..8).map(|_| next()).collect();
    UnitVector::normalise(&values, 8).unwrap()
}

fn decoded(position: u64, recorded: &Recorded) -> DecodedEvent {
    let payload = recorded.clear.get().as_bytes();
    DecodedEvent {
        envelope: Envelope {
            position,
            recorded_at: recorded.at,
            step: recorded.step,
            subject: recorded.subject.map(SubjectRef::new),
            content_hash: recorded.seed.map(|seed| Sha256([seed as u8; 32])),
        },
        event: codec::decode(&recorded.r#type, recorded.version, payload).unwrap(),
        vector: recorded.seed.map(vector),
    }
}

fn log() -> Vec<DecodedEvent> {
    let text = include_str!("../../../tests/golden/log-v2.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    (1..).zip(&golden.events).map(|(position, recorded)| decoded(position, recorded)).collect()
}

/// The first event that the command of a recorded event leads to; `None` if it has no command.
fn decided(state: &State, opened: &DecodedEvent) -> Option<Event> {
    match rebuild(state, opened) {
        Rebuilt::Command(command) => {
            let now = opened.envelope.recorded_at;
            let events = decide(state, &command, now, Rules::V1).unwrap();
            Some(events.into_iter().next().unwrap().event)
        }
        Rebuilt::NotDecided | Rebuilt::NeverFirst => None,
    }
}

#[test]
fn every_event_of_a_log_of_format_2_is_decided_again_with_the_same_result() {
    let mut events = log().into_iter();
    let first = events.next().unwrap();
    let mut state = begin(&first.envelope, &first.event).unwrap();
    let mut compared = BTreeSet::new();
    for opened in events {
        if let Some(decided) = decided(&state, &opened) {
            assert_eq!(decided, opened.event, "position {}", opened.envelope.position);
            compared.insert(opened.event.kind());
        }
        evolve(&mut state, &opened.envelope, &opened.event, opened.vector).unwrap();
    }
    let undecided: Vec<_> =
        Event::KINDS.into_iter().filter(|kind| !compared.contains(kind)).collect();
    let never = ["engine.created", "memory.consolidated", "memory.evicted", "subject.erased"];
    assert_eq!(undecided, never, "events that no command begins");
}
