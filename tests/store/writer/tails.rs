//! Events that others wrote: long tails, and tails that cannot be folded.

use std::sync::Arc;

use mlsdm::{
    domain::{
        digest,
        event::{Event, StateAttested},
        ids::{CommandId, Position, Sha256},
    },
    store::{
        Head, Record, Store, chain,
        codec::{self, CodecError},
        state_fold::{DamageCause, LogDamage, PAGE},
        writer::WriteError,
    },
    testkit::on_every_database,
};

use super::fixture::{Prompt, TestLog, TestReplica, committed, step_of};

on_every_database!(
    TestLog:
    a_tail_longer_than_a_page_is_folded_first,
    a_tail_that_cannot_be_folded_is_refused_by_name,
    a_row_that_cannot_be_folded_leaves_the_state_unchanged,
    a_missing_row_is_refused,
);

/// An event as another program might write it.
fn event(kind: &str, schema_version: u32, payload: &str) -> Record {
    Record {
        position: 0,
        command_id: CommandId::new(77),
        kind: kind.to_owned(),
        schema_version,
        decide_version: 1,
        recorded_at: 0,
        step: None,
        request_id: None,
        actor: None,
        subject_ref: None,
        trace_id: None,
        payload: payload.as_bytes().to_vec(),
        content_hash: None,
        leaf_hash: Sha256::default(),
        chain_hash: Sha256::default(),
        mac: None,
    }
}

/// Appends events as a server of the deployment does; returns the last position.
pub(super) async fn foreign(fixture: &TestLog, store: &Store, events: Vec<Record>) -> Position {
    let mut append = store.begin(&fixture.engine).await.unwrap();
    let Head { mut position, mut chain_hash, .. } = append.head;
    let key = store.mac_key(&fixture.key).await.unwrap();
    let mut rows = Vec::new();
    for mut record in events {
        position += 1;
        record.position = position;
        record.recorded_at = append.now;
        chain::extend(&fixture.engine, chain_hash, Some(&key), &mut record);
        chain_hash = record.chain_hash;
        rows.push(record);
    }
    append.insert_events(&rows).await.unwrap();
    append.commit().await.unwrap();
    position
}

pub(super) fn attested() -> Record {
    let event_ = Event::StateAttested(StateAttested { digest: "00".repeat(32) });
    let encoded = codec::encode(&event_).unwrap();
    event(encoded.kind, 1, &String::from_utf8(encoded.payload).unwrap())
}

async fn damage(fixture: &TestLog, replica: &TestReplica) -> Arc<LogDamage> {
    let refused = replica.admit(fixture, Prompt { by: "s", text: "x", key: None }).await;
    let Err(WriteError::Untrusted(damage)) = refused else { panic!("{refused:?}") };
    damage
}

async fn a_tail_longer_than_a_page_is_folded_first(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    let long = PAGE as usize * 2 + 100;
    let events = (0..long).map(|_| attested()).collect();
    let end = foreign(&fixture, &replica.store, events).await;
    // by a reminder
    let mut views = replica.writer.watch();
    replica.writer.catch_up();
    views.wait_for(|view| view.state.position == end).await.unwrap();
    fixture.assert_replays(&replica).await;
    // and by the next command
    let events = (0..long).map(|_| attested()).collect();
    let end = foreign(&fixture, &replica.store, events).await;
    let answered =
        committed(replica.admit(&fixture, Prompt { by: "s", text: "x", key: None }).await);
    assert_eq!((answered.events[0].0.position, step_of(&answered)), (end + 1, 2));
    fixture.assert_replays(&replica).await;
}

async fn a_tail_that_cannot_be_folded_is_refused_by_name(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    let before = digest::state(&replica.writer.view().state);
    let bad = [
        (event("step.dreamt", 1, "{}"), "event type \"step.dreamt\" is unknown"),
        (event("engine.shutdown", 9, "{}"), "engine.shutdown has version 9"),
        (event("engine.shutdown", 1, "{\"actor\":"), "engine.shutdown is damaged"),
        (event("engine.shutdown", 1, "{\"actor\":\"a\"}"), "engine.shutdown is damaged"),
    ];
    // only the first of them is ever reached: each in a log of its own would say the same
    let (record, text) = bad[usize::from(replica.store.has_one_owner())].clone();
    let position = foreign(&fixture, &replica.store, vec![record]).await;
    for _ in 0..2 {
        let damage = damage(&fixture, &replica).await;
        assert_eq!(damage.position, position);
        assert!(matches!(damage.cause, DamageCause::Codec(_)));
        let said = damage.to_string();
        assert!(said.contains(text) && said.contains(&format!("position {position}")), "{said}");
    }
    assert_eq!(digest::state(&replica.writer.view().state), before);
    for (record, text) in bad {
        let refused = codec::decode(&record.kind, record.schema_version, &record.payload);
        let error: CodecError = refused.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

async fn a_row_that_cannot_be_folded_leaves_the_state_unchanged(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    let good = committed(replica.admit(&fixture, Prompt { by: "s", text: "x", key: None }).await);
    // a good event, then a second ending of step 1 that names a store number of the future
    let ending = fixture.log(&replica).await.remove(2);
    assert_eq!(ending.kind, "step.completed");
    let twisted = String::from_utf8(ending.payload.clone()).unwrap().replace("\"n\":1", "\"n\":7");
    let twisted = Record {
        step: good.events[0].0.step,
        command_id: CommandId::new(78),
        payload: twisted.into_bytes(),
        content_hash: None,
        ..ending
    };
    let position = foreign(&fixture, &replica.store, vec![attested(), twisted]).await;
    for _ in 0..3 {
        let damage = damage(&fixture, &replica).await;
        assert_eq!(damage.position, position);
        let said = damage.to_string();
        assert!(said.contains("store number does not follow"), "{said}");
        let view = replica.writer.view();
        assert_eq!(view.state.position, position - 1, "folded up to it");
        assert_eq!((view.state.counts.completed, view.state.open.size()), (1, 1));
    }
    // a reminder changes nothing either
    replica.writer.catch_up();
    let _again = damage(&fixture, &replica).await;
    assert_eq!(replica.writer.view().state.counts.completed, 1);
}

async fn a_missing_row_is_refused(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    let mut append = replica.store.begin(&fixture.engine).await.unwrap();
    let mut record = attested();
    record.position = append.head.position + 2;
    record.recorded_at = append.now;
    chain::extend(&fixture.engine, append.head.chain_hash, None, &mut record);
    append.insert_events(&[record]).await.unwrap();
    append.commit().await.unwrap();
    let damage = damage(&fixture, &replica).await;
    assert_eq!(damage.position, 4);
    assert!(matches!(damage.cause, DamageCause::Gap { found: 5 }), "{damage}");
}
