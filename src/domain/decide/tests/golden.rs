//! Logs of both formats and what they fold to, on every CPU and with every later binary.
//!
//! The files in `tests/golden` are never written again: logs like them exist. A vector is named by its
//! seed (`driver::vector`), which stands for its content hash too.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    driver::{Row, fold_page},
    story, subject, vector,
};
use crate::{
    domain::{
        digest,
        event::{Envelope, Event, FOLD_VERSION},
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
    version: Option<u32>,
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
    let event = codec::decode(
        &recorded.r#type,
        recorded.version.unwrap_or(1),
        recorded.clear.get().as_bytes(),
    )
    .unwrap();
    Row { envelope, event, vector: recorded.seed.map(vector) }
}

/// The first log has every event type there was before an engine could be copied, the second is a
/// copy, and the third begins in format 1, is raised to format 2, and has every event type.
fn golden() -> [(&'static str, Golden); 3] {
    let read = |text| serde_json::from_str(text).unwrap();
    [
        ("log-v1.json", read(include_str!("../../../../tests/golden/log-v1.json"))),
        ("copy-v1.json", read(include_str!("../../../../tests/golden/copy-v1.json"))),
        ("log-v2.json", read(include_str!("../../../../tests/golden/log-v2.json"))),
    ]
}

#[test]
fn the_golden_logs_fold_to_the_pinned_digests() {
    for (name, golden) in golden() {
        let rows = golden.events.iter().enumerate().map(|(index, event)| row(index, event));
        let state = fold_page(rows).unwrap();
        let found = digest::state(&state).to_string();
        let traces = digest::traces(state.traces.as_ref()).unwrap().to_string();
        if golden.fold_version == FOLD_VERSION {
            assert_eq!(
                (found.as_str(), traces.as_str()),
                (golden.state_digest.as_str(), golden.trace_digest.as_str()),
                "{name}: the same log folds to another state: running replicas and snapshots would \
                 disagree. Undo that, or raise FOLD_VERSION in domain/event.rs and pin new digests"
            );
        } else {
            panic!(
                "FOLD_VERSION was raised: pin fold_version {FOLD_VERSION}, state_digest {found}, \
                 trace_digest {traces} in tests/golden/{name}"
            );
        }
    }
}

#[test]
fn every_event_type_is_in_a_golden_log() {
    let golden = golden();
    let events: Vec<&Recorded> = golden.iter().flat_map(|(_, golden)| &golden.events).collect();
    let missing: Vec<_> =
        Event::KINDS.iter().filter(|kind| !events.iter().any(|e| e.r#type == **kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The newest golden log, as the rules that recorded it decide it again.
#[test]
fn rules_1_still_decide_the_golden_log_of_format_2() {
    let golden = golden();
    let recorded = golden[2].1.events.iter().enumerate().map(|(index, event)| row(index, event));
    let decided = story::rows();
    for (recorded, decided) in recorded.zip(&decided) {
        let position = recorded.envelope.position;
        assert_eq!(recorded.event, decided.event, "position {position}");
        assert_eq!(recorded.envelope.recorded_at, decided.envelope.recorded_at, "{position}");
    }
    assert_eq!(golden[2].1.events.len(), decided.len());
}
