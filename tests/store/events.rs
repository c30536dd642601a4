//! Events, and functions that append them to a store.

use mlsdm::{
    domain::ids::{CommandId, EngineId, Position, Sha256, SubjectRef},
    store::{Append, Content, EngineRow, Head, Record, Store, StoreError, chain},
};

pub(crate) fn engine(name: &str) -> EngineId {
    name.parse().unwrap()
}

/// An event without position, time and hashes.
pub(crate) fn event(kind: &str, payload: &str) -> Record {
    Record {
        position: 0,
        command_id: CommandId::new(0xfeed_0000_0000_0000_0000_0000_0000_0001),
        kind: kind.to_owned(),
        schema_version: 1,
        decide_version: 2,
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

/// An event of a step and a data subject, with all columns set.
pub(crate) fn step_event(kind: &str, step: u64, subject: u128) -> Record {
    Record {
        step: Some(step),
        request_id: Some(format!("req-{step}")),
        actor: Some("someone".to_owned()),
        subject_ref: Some(SubjectRef::new(subject)),
        trace_id: Some([step as u8; 16]),
        ..event(kind, r#"{"n":1.10,  "a":1}"#)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the type of an event's contents")]
pub(crate) fn content(text: &str, vector: Option<&[u8]>) -> Option<Content> {
    Some(Content { sealed: text.as_bytes().to_vec(), vector: vector.map(<[u8]>::to_vec) })
}

/// Gives events their positions, times and hashes after `head`.
pub(crate) fn place(
    engine: &EngineId,
    head: Head,
    now: i64,
    events: Vec<(Record, Option<Content>)>,
) -> Vec<(Record, Option<Content>)> {
    let (mut position, mut chain_hash) = (head.position, head.chain_hash);
    let mut placed = Vec::new();
    for (mut record, content) in events {
        position += 1;
        record.position = position;
        record.recorded_at = now;
        record.content_hash = content
            .as_ref()
            .map(|content| chain::content_hash(&content.sealed, content.vector.as_deref()));
        record.leaf_hash = chain::leaf(engine, &record);
        chain_hash = chain::link(chain_hash, position, record.leaf_hash);
        record.chain_hash = chain_hash;
        placed.push((record, content));
    }
    placed
}

/// Creates an engine and its first event.
pub(crate) async fn create(store: &Store, engine: &EngineId) -> EngineRow {
    let row = EngineRow {
        engine_id: engine.clone(),
        created_at: 1_000,
        log_format: 1,
        index_key: vec![0, 1, 2, 255],
    };
    let first = vec![(event("engine.created", "{}"), None)];
    let first = place(engine, Head::before_first(engine), 1_000, first);
    store.create_engine(&row, &first[0].0, None).await.unwrap();
    row
}

/// Places and inserts events within an open transaction.
pub(crate) async fn insert(append: &mut Append, events: Vec<(Record, Option<Content>)>) {
    let placed = place(append.engine(), append.head, append.now, events);
    insert_placed(append, placed).await.unwrap();
}

/// Inserts placed events with their contents.
pub(crate) async fn insert_placed(
    append: &mut Append,
    placed: Vec<(Record, Option<Content>)>,
) -> Result<(), StoreError> {
    let contents = placed.iter().filter_map(|(r, content)| Some((r.position, content.clone()?)));
    append.insert_contents(&contents.collect::<Vec<_>>()).await?;
    append.insert_events(&placed.into_iter().map(|(record, _)| record).collect::<Vec<_>>()).await
}

/// Appends events in one transaction; returns the position of the new head.
pub(crate) async fn append(
    store: &Store,
    engine: &EngineId,
    events: Vec<(Record, Option<Content>)>,
) -> Position {
    let mut append = store.begin(engine).await.unwrap();
    let position = append.head.position + events.len() as Position;
    insert(&mut append, events).await;
    append.commit().await.unwrap();
    position
}
