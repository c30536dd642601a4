//! A log of format 1 and what it folds to, on every CPU and with every later binary.
//!
//! `tests/golden/log-v1.json` is never written again: logs like it exist. A vector is named by its
//! seed (`driver::vector`), which stands for its content hash too.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    driver::{Row, fold_page},
    subject, vector,
};
use crate::{
    domain::{
        digest,
        event::{Envelope, FOLD_VERSION},
        ids::{Micros, Sha256},
    },
    store::codec,
};

#[derive(Deserialize)]
struct Golden {
    fold_version: u32,
    state_digest: String,
    trace_digest: String,
    events: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    #[serde(rename = "recorded_at")]
    at: Micros,
    r#type: String,
    clear: Box<RawValue>,
    step: Option<u64>,
    subject: Option<u128>,
    seed: Option<u64>,
}

fn row(index: usize, recorded: &Recorded) -> Row {
    let envelope = Envelope {
        position: index as u64 + 1,
        recorded_at: recorded.at,
        step: recorded.step,
        subject: recorded.subject.map(subject),
        content_hash: recorded.seed.map(|seed| Sha256([seed as u8; 32])),
    };
    let event = codec::decode(&recorded.r#type, 1, recorded.clear.get().as_bytes()).unwrap();
    Row { envelope, event, vector: recorded.seed.map(vector) }
}

#[test]
fn the_golden_log_folds_to_the_pinned_digest() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../../tests/golden/log-v1.json")).unwrap();
    let rows = golden.events.iter().enumerate().map(|(index, event)| row(index, event));
    let state = fold_page(rows).unwrap();
    let found = digest::state(&state).to_string();
    let traces = digest::traces(state.traces.as_ref()).unwrap().to_string();
    if golden.fold_version == FOLD_VERSION {
        assert_eq!(
            (found.as_str(), traces.as_str()),
            (golden.state_digest.as_str(), golden.trace_digest.as_str()),
            "the same log folds to another state: running replicas and snapshots would disagree. \
             Undo that, or raise FOLD_VERSION in domain/event.rs and pin the new digests"
        );
    } else {
        panic!(
            "FOLD_VERSION was raised: pin fold_version {FOLD_VERSION}, state_digest {found}, \
             trace_digest {traces} in tests/golden/log-v1.json"
        );
    }
}

#[test]
fn every_event_type_is_in_the_golden_log() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../../tests/golden/log-v1.json")).unwrap();
    let mut kinds: Vec<&str> = golden.events.iter().map(|e| e.r#type.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
}
