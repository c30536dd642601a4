mod coverage;
mod recorder;

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{
    domain::event::{Intervention, SubjectErased},
    testkit::mutate::mutations,
};

/// An event as a released version wrote it.
struct Fixture {
    kind: String,
    schema_version: u32,
    payload: Vec<u8>,
    tree: Value,
}

/// The events of both log formats.
fn fixtures() -> Vec<Fixture> {
    let files = [
        include_str!("../../../tests/golden/events-v1.json"),
        include_str!("../../../tests/golden/events-v2.json"),
    ];
    let read = |file| serde_json::from_str::<Vec<Value>>(file).unwrap();
    let events = files.into_iter().flat_map(read);
    let fixture = |event: Value| Fixture {
        kind: event["type"].as_str().unwrap().to_owned(),
        schema_version: event.get("version").map_or(1, |v| v.as_u64().unwrap() as u32),
        payload: serde_json::to_vec(&event["clear"]).unwrap(),
        tree: event["clear"].clone(),
    };
    events.map(fixture).collect()
}

#[test]
fn every_released_version_is_read_and_written_back_unchanged() {
    for Fixture { kind, schema_version, payload, tree } in fixtures() {
        let event =
            decode(&kind, schema_version, &payload).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let written = encode(&event).unwrap();
        assert_eq!((written.kind, written.schema_version), (&*kind, schema_version));
        let again: Value = serde_json::from_slice(&written.payload).unwrap();
        assert_eq!(again, tree, "{kind}");
    }
}

#[test]
fn an_item_without_a_source_needs_version_2_and_log_format_2() {
    let item = br#"{"actor":"a","n":1,"key":2,"phase":0.1,"confidence":0.5,"consolidated":false}"#;
    let error = decode("memory.added", 1, item).unwrap_err().to_string();
    assert!(error.contains("memory.added") && error.contains("source"), "{error}");
    let event = decode("memory.added", 2, item).unwrap();
    assert_eq!((encode(&event).unwrap().schema_version, event.format()), (2, 2));
    let newer = decode("memory.added", 3, item).unwrap_err().to_string();
    assert!(newer.contains("version 3"), "{newer}");
}

#[test]
fn an_event_larger_than_an_entry_is_refused_with_its_size() {
    let shutdown = |length| {
        let (actor, reason) = ("a".to_owned(), "x".repeat(length));
        encode(&Event::EngineShutdown(Intervention { actor, reason }))
    };
    let envelope = shutdown(0).unwrap().payload.len();
    assert!(shutdown(PAYLOAD_MAX - envelope).is_ok());
    let error = shutdown(PAYLOAD_MAX - envelope + 1).unwrap_err().to_string();
    assert!(error.contains("engine.shutdown has 60001 bytes"), "{error}");
}

#[test]
fn an_unknown_field_of_a_policy_is_refused_by_name() {
    for kind in ["engine.created", "policy.changed"] {
        let fixture = fixtures().into_iter().find(|fixture| fixture.kind == kind).unwrap();
        let mut tree = fixture.tree;
        tree["policy"]["moral"]["mood"] = json!(1);
        let error = decode(kind, 1, &serde_json::to_vec(&tree).unwrap()).unwrap_err().to_string();
        let found = error.contains(kind) && error.contains("policy.moral.mood");
        assert!(found && error.contains("run the mlsdm that recorded it"), "{error}");
    }
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
    let (mut refused, mut read) = (0, 0);
    for Fixture { kind, schema_version, payload, .. } in fixtures() {
        for damaged in mutations(&payload, 2_000) {
            // a decoded event can be encoded, and decodes to the same event
            match decode(&kind, schema_version, &damaged) {
                Err(_) => refused += 1,
                Ok(event) => {
                    read += 1;
                    let written = encode(&event).unwrap();
                    let again = decode(&kind, written.schema_version, &written.payload);
                    assert_eq!(again.unwrap(), event);
                }
            }
        }
        for damaged in mutations(kind.as_bytes(), 200) {
            let name = String::from_utf8_lossy(&damaged);
            if let Ok(event) = decode(&name, schema_version, &payload) {
                panic!("{name} was read as {event:?}");
            }
        }
    }
    assert!(refused > 1_000 && read > 100, "{refused} {read}");
}
