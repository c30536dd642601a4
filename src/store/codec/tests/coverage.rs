//! The fixtures have every event type, every optional field with and without a value, and every
//! variant of an enum.

use std::cell::RefCell;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    fixtures,
    recorder::{Field, Recorder, Seen},
};
use crate::domain::event::{self, Event};

/// The sections of a policy: their missing fields have defaults, and none is optional in the log.
const POLICY: [&str; 9] = [
    "Policy",
    "MemoryPolicy",
    "Rhythm",
    "Moral",
    "LatticePolicy",
    "ContextPolicy",
    "Trace",
    "Budget",
    "RecordPolicy",
];

/// Variants that the canonical JSON of a policy omits: no fixture can have them and be written back
/// unchanged.
const OMITTED: [Field; 2] = [("Placement", "prompt"), ("RecordedMessages", "all")];

/// Decodes a payload of this type. True if it could be decoded.
fn read(kind: &str, recorder: Recorder<'_>) -> bool {
    fn of<T: DeserializeOwned>(recorder: Recorder<'_>) -> bool {
        T::deserialize(recorder).is_ok()
    }
    match kind {
        "engine.created" => of::<event::EngineCreated>(recorder),
        "policy.changed" => of::<event::PolicyChanged>(recorder),
        "step.admitted" => of::<event::StepAdmitted>(recorder),
        "step.rejected" => of::<event::StepRejected>(recorder),
        "step.completed" => of::<event::StepCompleted>(recorder),
        "step.failed" => of::<event::StepFailed>(recorder),
        "step.annotated" => of::<event::StepAnnotated>(recorder),
        "memory.added" => of::<event::MemoryAdded>(recorder),
        "memory.consolidated" | "memory.evicted" => of::<event::Positions>(recorder),
        "memory.forgotten" => of::<event::MemoryForgotten>(recorder),
        "memory.shared" => of::<event::MemoryShared>(recorder),
        "content.read" => of::<event::ContentRead>(recorder),
        "contents.expired" => of::<event::ContentsExpired>(recorder),
        "engine.shutdown" | "engine.resumed" => of::<event::Intervention>(recorder),
        "engine.retired" => of::<event::EngineRetired>(recorder),
        "subject.erased" => of::<event::SubjectErased>(recorder),
        "subject.exported" => of::<event::SubjectExported>(recorder),
        "hold.placed" | "hold.released" => of::<event::Hold>(recorder),
        "state.attested" => of::<event::StateAttested>(recorder),
        "log.format_raised" => of::<event::LogFormatRaised>(recorder),
        "log.recovered" => of::<event::LogRecovered>(recorder),
        "requests.refused" => of::<event::RequestsRefused>(recorder),
        "server.started" => of::<event::ServerStarted>(recorder),
        "access.denied" => of::<event::AccessDenied>(recorder),
        "settings.changed" => of::<event::SettingsChanged>(recorder),
        "key.created" => of::<event::KeyCreated>(recorder),
        "key.revoked" => of::<event::KeyRevoked>(recorder),
        "key.rotated" => of::<event::KeyRotated>(recorder),
        "mac_key.changed" => of::<event::MacKeyChanged>(recorder),
        "audit_key.changed" => of::<event::AuditKeyChanged>(recorder),
        other => panic!("add {other} to this list"),
    }
}

/// Decodes all fixtures, without a field if one is given; returns what was seen and the number of
/// fixtures that could not be decoded.
fn read_all(without: Option<Field>) -> (Seen, usize) {
    let seen = RefCell::new(Seen::default());
    let mut failed = 0;
    for fixture in fixtures() {
        let value: Value = serde_json::from_slice(&fixture.payload).unwrap();
        let recorder = Recorder { value: &value, seen: &seen, without };
        failed += usize::from(!read(&fixture.kind, recorder));
    }
    (seen.into_inner(), failed)
}

#[test]
fn every_field_and_every_variant_has_a_fixture() {
    let (seen, failed) = read_all(None);
    assert_eq!(failed, 0);
    let missing: Vec<_> = seen.declared.difference(&seen.present).collect();
    assert!(missing.is_empty(), "no fixture has a value for {missing:?}");
    let missing = seen.variants.difference(&seen.occurred);
    let missing: Vec<_> = missing.filter(|variant| !OMITTED.contains(variant)).collect();
    assert!(missing.is_empty(), "no fixture has the variants {missing:?}");
    assert!(seen.declared.len() > 150 && seen.variants.len() > 30, "the recorder saw the fixtures");
}

#[test]
fn every_optional_field_has_a_fixture_without_it() {
    let (seen, _) = read_all(None);
    for field in seen.declared.difference(&seen.absent) {
        if POLICY.contains(&field.0) {
            continue;
        }
        let (_, failed) = read_all(Some(*field));
        assert!(failed > 0, "{field:?} is optional, and each fixture has it");
    }
}

#[test]
fn every_type_has_a_fixture() {
    let kinds: Vec<String> = fixtures().into_iter().map(|fixture| fixture.kind).collect();
    let missing: Vec<_> =
        Event::KINDS.iter().filter(|kind| !kinds.iter().any(|found| found == *kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
