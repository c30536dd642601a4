//! The format of a log, and the events that only format 2 has.

use std::collections::BTreeMap;

use super::{Log, facts::full_request, fold, subject, vector};
use crate::domain::{
    command::{AbandonCause, Add, Admit, Command, RaiseFormat, Refusal},
    decide::{
        REPLICA_GONE_AFTER,
        tests::driver::{Row, small_policy},
    },
    digest,
    event::{
        AccessDenied, Annotation, CODES_MAX, ContentRead, ContentsExpired, Event, Fact, FailStage,
        Hold, LOG_FORMAT, LogFormatRaised, LogRecovered, MacKeyChanged, MemoryForgotten,
        MemoryShared, POSITIONS_MAX, RequestsRefused, StepAnnotated, TEXT_MAX,
    },
    ids::Position,
    lattice::Query,
};

const ACTOR: &str = "operator";

fn text() -> (String, String) {
    (ACTOR.to_owned(), "a test".to_owned())
}

pub(super) fn record(log: &mut Log, fact: Fact) -> Result<Vec<Event>, Refusal> {
    log.when(&Command::Record(Box::new(fact)))
}

pub(super) fn raise(log: &mut Log, to: u32) -> Result<Vec<Event>, Refusal> {
    log.when(&Command::RaiseFormat(RaiseFormat { to, actor: ACTOR.to_owned() }))
}

pub(super) fn hold(of: u128) -> Hold {
    let (actor, reason) = text();
    Hold { subject_ref: subject(of), actor, reason }
}

pub(super) fn forgotten(positions: &[Position]) -> Fact {
    let (actor, reason) = text();
    Fact::MemoryForgotten(MemoryForgotten { positions: positions.to_vec(), actor, reason })
}

pub(super) fn shared(positions: &[Position]) -> Fact {
    Fact::MemoryShared(MemoryShared { positions: positions.to_vec(), actor: ACTOR.to_owned() })
}

const fn expired(through: Position) -> Fact {
    Fact::ContentsExpired(ContentsExpired { through })
}

fn items(log: &Log) -> Vec<Position> {
    log.state.lattice.items().map(|item| item.position).collect()
}

#[test]
fn a_raise_of_the_format_is_recorded_once_and_only_upwards() {
    let mut log = Log::of_format(1, small_policy());
    let raised = LogFormatRaised { from: 1, to: 2, actor: ACTOR.to_owned() };
    assert_eq!(raise(&mut log, 2).unwrap(), [Event::LogFormatRaised(raised)]);
    assert_eq!(log.state.log_format, 2);
    assert_eq!(raise(&mut log, 2).unwrap(), []);
    assert_eq!(raise(&mut log, 1).unwrap(), []);
    let to = LOG_FORMAT + 1;
    assert_eq!(raise(&mut log, to).unwrap_err(), Refusal::UnknownFormat { to });
    log.assert_replays();
}

#[test]
fn a_log_of_format_1_refuses_the_types_of_format_2() {
    let mut log = Log::of_format(1, small_policy());
    log.step(1, 1);
    let refused = record(&mut log, forgotten(&[3])).unwrap_err();
    let kind = "memory.forgotten";
    assert_eq!(refused, Refusal::LogFormat { kind, needed: 2, found: 1 });
    let text = refused.to_string();
    assert!(text.contains(kind) && text.contains("mlsdm upgrade finish"), "{text}");
    let refused = add_without_source(&mut log, 4).unwrap_err();
    assert!(matches!(refused, Refusal::LogFormat { kind: "memory.added", .. }), "{refused}");
    raise(&mut log, 2).unwrap();
    record(&mut log, forgotten(&[3])).unwrap();
    add_without_source(&mut log, 4).unwrap();
    assert_eq!(log.state.lattice.len(), 1);
    log.assert_replays();
}

pub(super) fn add_without_source(log: &mut Log, seed: u64) -> Result<Vec<Event>, Refusal> {
    log.when(&Command::Add(Box::new(Add {
        subject: subject(1),
        source: None,
        after: 0,
        actor: ACTOR.to_owned(),
        phase: 0.1,
        confidence: 0.75,
        consolidated: false,
        vector: Some(vector(seed)),
    })))
}

#[test]
fn items_without_a_source_do_not_disturb_a_copy() {
    let mut log = Log::new();
    let events = add_without_source(&mut log, 1).unwrap();
    let [Event::MemoryAdded(added)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((added.source.as_ref(), added.n), (None, 1));
    assert_eq!(log.state.copied, None);
    log.assert_replays();
}

#[test]
fn an_event_above_the_format_of_its_log_is_damage() {
    let mut log = Log::of_format(1, small_policy());
    let mut newer = Log::new();
    record(&mut newer, Fact::HoldPlaced(hold(1))).unwrap();
    let error = fold(&mut log.state, &newer.rows[1]).unwrap_err();
    assert!(error.what.contains("newer log format"), "{error}");
    assert_eq!(log.state.position, 1);
    for (from, to) in [(2, 3), (1, 1), (1, 0)] {
        let raised = LogFormatRaised { from, to, actor: ACTOR.to_owned() };
        let row = Row { event: Event::LogFormatRaised(raised), ..newer.rows[1].clone() };
        let error = fold(&mut log.state, &row).unwrap_err();
        assert!(error.what.contains("does not raise the format"), "{error}");
    }
}

#[test]
fn forgotten_items_leave_memory_and_traces() {
    let mut log = Log::new();
    for seed in 1..4 {
        log.step(1, seed);
    }
    assert_eq!(items(&log), [3, 5, 7]);
    record(&mut log, forgotten(&[3, 5])).unwrap();
    assert_eq!(items(&log), [7]);
    assert_eq!(log.state.trace_norms.map(f32::to_bits), [0; 3]);
    // their contents are deleted, and a replay agrees nevertheless
    for position in [3, 5] {
        log.rows[position as usize - 1].vector = None;
    }
    log.assert_replays();
    log.step(1, 9);
    log.assert_replays();
    // an item that was evicted before can be forgotten too
    record(&mut log, forgotten(&[3])).unwrap();
    let head = log.state.position;
    let refused = Refusal::NoPosition { position: 99, head };
    assert_eq!(record(&mut log, forgotten(&[99])).unwrap_err(), refused);
}

#[test]
fn shared_items_are_found_by_every_subject() {
    let mut log = Log::new();
    log.step(1, 1);
    log.step(1, 2);
    let found = |log: &Log| {
        let query = Query {
            vector: &vector(1),
            phase: log.state.phase_value(log.state.rhythm.phase),
            phase_tolerance: 1.0,
            min_similarity: 0.0,
            k: 5,
            subject: Some(subject(2)),
        };
        let hits = log.state.lattice.search(&query).unwrap().hits;
        hits.iter().map(|hit| hit.position).collect::<Vec<_>>()
    };
    assert_eq!(found(&log), [0; 0]);
    let before = digest::state(&log.state);
    record(&mut log, shared(&[3])).unwrap();
    assert_eq!(found(&log), [3]);
    assert_ne!(digest::state(&log.state), before);
    assert_eq!(record(&mut log, shared(&[4])).unwrap_err(), Refusal::NoItem { position: 4 });
    log.assert_replays();
}

#[test]
fn contents_expire_except_those_on_hold() {
    let mut log = Log::new();
    for (by, seed) in [(1, 1), (2, 2), (1, 3)] {
        log.step(by, seed);
    }
    record(&mut log, Fact::HoldPlaced(hold(2))).unwrap();
    let norms = log.state.trace_norms.map(f32::to_bits);
    // the prompt of the item at 7 is at 6
    record(&mut log, expired(5)).unwrap();
    assert_eq!(items(&log), [5, 7]);
    assert_eq!(log.state.trace_norms.map(f32::to_bits), norms, "the traces stay");
    record(&mut log, expired(6)).unwrap();
    assert_eq!(items(&log), [5]);
    record(&mut log, Fact::HoldReleased(hold(2))).unwrap();
    assert_eq!(items(&log), [5], "the next expiry removes it");
    record(&mut log, expired(6)).unwrap();
    assert_eq!(items(&log), [0; 0]);
    let head = log.state.position;
    let refused = Refusal::NoPosition { position: head + 1, head };
    assert_eq!(record(&mut log, expired(head + 1)).unwrap_err(), refused);
    log.assert_replays();
}

#[test]
fn a_second_hold_and_an_unknown_hold_change_nothing() {
    let mut log = Log::new();
    let without = digest::state(&log.state);
    assert_eq!(record(&mut log, Fact::HoldReleased(hold(1))).unwrap(), []);
    assert_eq!(record(&mut log, Fact::HoldPlaced(hold(1))).unwrap().len(), 1);
    assert_ne!(digest::state(&log.state), without);
    assert_eq!(record(&mut log, Fact::HoldPlaced(hold(1))).unwrap(), []);
    assert_eq!(log.state.holds.iter().collect::<Vec<_>>(), [&subject(1)]);
    log.assert_replays();
}

#[test]
fn a_step_of_a_process_that_is_gone_is_abandoned_before_its_deadline() {
    let mut log = Log::new();
    log.admit(Admit { timeout: 2 * REPLICA_GONE_AFTER, ..full_request(1) }).unwrap();
    let last_seen = log.now;
    // the driver's clock advances by one tick before each command
    log.now = last_seen + REPLICA_GONE_AFTER - 1_000;
    let cause = AbandonCause::ReplicaGone { last_seen };
    let refused = Refusal::ReplicaAlive { step: 1, last_seen };
    assert_eq!(log.abandon(1, cause).unwrap_err(), refused);
    let events = log.abandon(1, cause).unwrap();
    let [Event::StepFailed(failed)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((failed.stage, failed.code.as_str()), (FailStage::Abandoned, "replica_gone"));
    assert_eq!(failed.last_seen, Some(last_seen));
    // a step that names no process
    log.admitted(1);
    assert_eq!(log.abandon(2, cause).unwrap_err(), Refusal::NoReplica { step: 2 });
    log.assert_replays();
}

#[test]
fn the_digest_of_a_log_of_format_1_has_no_format() {
    let logs = [Log::of_format(1, small_policy()), Log::of_format(2, small_policy())];
    let [old, new] = logs.map(|log| digest::state(&log.state));
    assert_ne!(old, new);
    let mut log = Log::new();
    let before = digest::state(&log.state);
    let changed = MacKeyChanged { id: 2, actor: ACTOR.to_owned() };
    record(&mut log, Fact::MacKeyChanged(changed)).unwrap();
    assert_eq!(log.state.mac_key, Some(2));
    log.state.position = 1;
    assert_ne!(digest::state(&log.state), before);
}

#[test]
fn an_annotation_belongs_to_its_step_and_keeps_its_note_as_content() {
    let mut log = Log::new();
    log.step(1, 1);
    let label = Annotation::Wrong;
    let fact = StepAnnotated { step: 1, subject_ref: subject(1), label };
    record(&mut log, Fact::StepAnnotated(fact)).unwrap();
    let envelope = &log.rows.last().unwrap().envelope;
    assert_eq!((envelope.step, envelope.subject), (Some(1), Some(subject(1))));
    assert!(envelope.content_hash.is_some());
}

#[test]
fn a_recovery_stands_at_the_first_missing_position() {
    let mut log = Log::new();
    let (actor, reason) = text();
    let recovered = LogRecovered {
        from: 2,
        through: 9,
        quarantine_id: None,
        last_chain_hash: None,
        checkpoint: None,
        actor,
        reason,
    };
    record(&mut log, Fact::Recovered(recovered.clone())).unwrap();
    let row =
        Row { event: Event::Fact(Box::new(Fact::Recovered(recovered))), ..log.rows[1].clone() };
    let mut row = row;
    row.envelope.position = 3;
    let error = fold(&mut log.state, &row).unwrap_err();
    assert!(error.what.contains("first missing position"), "{error}");
}

#[test]
fn facts_above_their_bounds_are_refused_by_name() {
    let mut log = Log::new();
    log.step(1, 1);
    let many = |count: usize| -> BTreeMap<String, u64> {
        (0..count).map(|code| (format!("CODE_{code}"), 1)).collect()
    };
    let read = |count| {
        let (actor, reason) = text();
        Fact::ContentRead(ContentRead { positions: vec![3; count], actor, reason })
    };
    let too_long = "x".repeat(TEXT_MAX + 1);
    let refused = [
        read(0),
        read(POSITIONS_MAX + 1),
        Fact::HoldPlaced(Hold { reason: too_long.clone(), ..hold(1) }),
        Fact::RequestsRefused(RequestsRefused { minute: 0, counts: many(CODES_MAX + 1) }),
        Fact::RequestsRefused(RequestsRefused { minute: 0, counts: many(0) }),
        Fact::AccessDenied(AccessDenied { minute: 0, counts: [(too_long.repeat(5), 1)].into() }),
    ]
    .map(|fact| {
        let refusal = record(&mut log, fact).unwrap_err();
        let Refusal::FactBound { kind, field, .. } = refusal else { panic!("{refusal}") };
        format!("{kind} {field}")
    });
    assert_eq!(
        refused,
        [
            "content.read positions",
            "content.read positions",
            "hold.placed reason",
            "requests.refused counts",
            "requests.refused counts",
            "access.denied counts",
        ]
    );
    let most = RequestsRefused { minute: 0, counts: many(CODES_MAX) };
    assert!(record(&mut log, Fact::RequestsRefused(most)).is_ok());
    assert!(record(&mut log, read(POSITIONS_MAX)).is_ok());
}
