use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{domain::event::SubjectErased, testkit::mutate::mutations};

#[test]
fn every_released_version_is_read_and_written_back_unchanged() {
    let fixtures: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/golden/events-v1.json")).unwrap();
    let mut kinds: Vec<String> = Vec::new();
    for fixture in fixtures {
        let name = fixture["type"].as_str().unwrap();
        let payload = serde_json::to_vec(&fixture["clear"]).unwrap();
        let event = decode(name, 1, &payload).unwrap_or_else(|e| panic!("{name}: {e}"));
        let written = encode(&event).unwrap();
        assert_eq!(written.kind, name);
        let again: Value = serde_json::from_slice(&written.payload).unwrap();
        assert_eq!(again, fixture["clear"], "{name}");
        kinds.push(name.to_owned());
    }
    kinds.sort();
    kinds.dedup();
    let mut known = Event::KINDS;
    known.sort_unstable();
    assert_eq!(kinds, known, "every type has a fixture");
}

#[test]
fn floats_are_read_back_bit_for_bit() {
    for value in [0.1 + 0.2, 1.0 / 3.0, f64::MIN_POSITIVE, 0.850_000_000_000_000_1] {
        let text = serde_json::to_vec(&value).unwrap();
        let back: f64 = serde_json::from_slice(&text).unwrap();
        assert_eq!(back.to_bits(), value.to_bits());
    }
}

#[test]
fn unknown_types_and_newer_versions_are_refused_by_name() {
    let unknown = decode("memory.dreamt", 1, b"{}").unwrap_err().to_string();
    assert!(unknown.contains("memory.dreamt"), "{unknown}");
    let newer = decode("step.failed", 7, b"{}").unwrap_err().to_string();
    assert!(newer.contains("step.failed") && newer.contains('7'), "{newer}");
    let damaged = decode("step.failed", 1, b"{\"stage\":").unwrap_err().to_string();
    assert!(damaged.contains("step.failed"), "{damaged}");
}

#[test]
fn unknown_fields_are_ignored() {
    let payload = br#"{"actor":"a","reason":"r","since":"a later version"}"#;
    assert!(matches!(decode("engine.shutdown", 1, payload), Ok(Event::EngineShutdown(_))));
}

#[test]
fn upcasters_run_in_sequence() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct V3 {
        name: String,
        loud: bool,
    }
    let upcasters: &[(&str, u32, Upcaster)] = &[
        ("x", 1, |old| json!({"name": old["n"]})),
        ("x", 2, |mut old| {
            old["loud"] = json!(true);
            old
        }),
    ];
    let read = |version, payload: &[u8]| {
        StoredPayload { kind: "x", schema_version: version, payload }.parse::<V3>(upcasters)
    };
    let newest = V3 { name: "a".into(), loud: true };
    assert_eq!(read(1, br#"{"n":"a"}"#).unwrap(), newest);
    assert_eq!(read(2, br#"{"name":"a"}"#).unwrap(), newest);
    assert_eq!(read(3, br#"{"name":"a","loud":true}"#).unwrap(), newest);
    assert!(matches!(read(4, b"{}"), Err(CodecError::NewerVersion { newest: 3, .. })));
}

#[test]
fn an_erasure_is_decoded_with_its_pseudonym() {
    let payload = br#"{"subject_ref":"0000000000000000000000000000002a","actor":"a","reason":"r"}"#;
    let Ok(Event::SubjectErased(SubjectErased { subject_ref, .. })) =
        decode("subject.erased", 1, payload)
    else {
        panic!("not an erasure");
    };
    assert_eq!(subject_ref.get(), 42);
}

#[test]
fn damaged_events_are_refused_or_decode_completely() {
    let fixtures: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/golden/events-v1.json")).unwrap();
    let (mut refused, mut read) = (0, 0);
    for fixture in &fixtures {
        let name = fixture["type"].as_str().unwrap();
        let payload = serde_json::to_vec(&fixture["clear"]).unwrap();
        for damaged in mutations(&payload, 2_000) {
            // a decoded event can be encoded, and decodes to the same event
            match decode(name, 1, &damaged) {
                Err(_) => refused += 1,
                Ok(event) => {
                    read += 1;
                    let written = encode(&event).unwrap();
                    assert_eq!(decode(name, 1, &written.payload).unwrap(), event);
                }
            }
        }
        for kind in mutations(name.as_bytes(), 200) {
            if let Ok(event) = decode(&String::from_utf8_lossy(&kind), 1, &payload) {
                panic!("{} was read as {event:?}", String::from_utf8_lossy(&kind));
            }
        }
    }
    assert!(refused > 1_000 && read > 100, "{refused} {read}");
}
