//! The append transaction: order, no gaps, time, limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use mlsdm::{
    domain::ids::{EngineId, Position, Sha256},
    store::{CommitError, Content, EngineRow, Head, Options, Record, Rows, StoreError},
    testkit::{TestStore, eventually, on_every_database},
};

use crate::events::{
    append, content, create, engine, event, insert, insert_placed, place, step_event,
};

on_every_database!(
    TestStore and PgBouncer:
    what_was_appended_is_read,
    a_batch_larger_than_a_group_is_whole,
    rows_are_appended_if_they_follow_the_head,
    rows_that_waited_for_the_lock_follow_the_rows_before_them,
    a_rollback_or_a_drop_leaves_nothing,
    interleaved_writers_are_serialised,
    an_unknown_engine_is_refused,
    an_engine_is_made_once,
    a_held_row_times_out,
    a_failed_statement_aborts_the_transaction,
    time_never_falls,
    the_databases_clock_is_used,
    events_cannot_be_changed,
);

async fn what_was_appended_is_read(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    let row = create(store, &name).await;
    assert_eq!(store.engine(&name).await.unwrap().as_ref(), Some(&row));
    let mut transaction = store.begin(&name).await.unwrap();
    let events = vec![
        (step_event("step.admitted", 1, 5), content("sealed prompt", None)),
        (step_event("memory.consolidated", 1, 5), None),
        (step_event("step.completed", 1, 5), content("", Some(&[]))),
        (event("engine.shutdown", ""), content("x", Some(&[0, 255, 0]))),
    ];
    let placed = place(&name, transaction.head, transaction.now, events);
    insert_placed(&mut transaction, placed.clone()).await.unwrap();
    assert_eq!(transaction.engine(), &name);
    assert_eq!(
        transaction.tail(0, 10).await.unwrap().len(),
        5,
        "the transaction sees its own events"
    );
    assert_eq!(store.read(&name, 0, 10).await.unwrap().len(), 1, "no other connection sees them");
    transaction.commit().await.unwrap();

    assert_eq!(store.read_for_audit(&name, 1, 10).await.unwrap(), placed);
    let records: Vec<_> = placed.iter().map(|(record, _)| record.clone()).collect();
    assert_eq!(store.read(&name, 1, 10).await.unwrap(), records);
    let head = store.head(&name).await.unwrap();
    let last = records.last().unwrap();
    let (chain_hash, recorded_at) = (last.chain_hash, last.recorded_at);
    assert_eq!(head, Head { position: 5, chain_hash, recorded_at });
}

async fn a_batch_larger_than_a_group_is_whole(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let events = |count| {
        (0..count).map(|n| (event("x", &n.to_string()), content("c", None))).collect::<Vec<_>>()
    };
    assert_eq!(append(store, &name, events(256)).await, 257);
    assert_eq!(append(store, &name, events(65)).await, 322);
    assert_eq!(append(store, &name, events(0)).await, 322);
    let rows = store.read_for_audit(&name, 1, 1_000).await.unwrap();
    let positions: Vec<u64> = rows.iter().map(|(record, _)| record.position).collect();
    assert_eq!(positions, (2..=322).collect::<Vec<_>>());
    assert!(rows.iter().all(|(_, content)| content.is_some()));
}

/// Rows of a writer that decided before it had the lock.
struct Decided {
    expected: (Position, Sha256),
    events: Vec<Record>,
    contents: Vec<(Position, Content)>,
}

impl Decided {
    fn rows(&self) -> Rows<'_> {
        Rows { expected: self.expected, events: &self.events, contents: &self.contents }
    }
}

/// Events decided on a log with this head.
fn decided_after(name: &EngineId, head: Head, count: usize) -> Decided {
    let events = (0..count).map(|n| {
        let vector = [1, 2, 3];
        let content = (n % 3 > 0).then(|| content("c", (n % 3 > 1).then_some(&vector[..])));
        (step_event("step.admitted", n as u64, 5), content.flatten())
    });
    let placed = place(name, head, head.recorded_at + 1, events.collect());
    let contents = placed.iter().filter_map(|(r, content)| Some((r.position, content.clone()?)));
    Decided {
        expected: (head.position, head.chain_hash),
        contents: contents.collect(),
        events: placed.into_iter().map(|(record, _)| record).collect(),
    }
}

async fn rows_are_appended_if_they_follow_the_head(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let first = store.head(&name).await.unwrap();
    let decided = decided_after(&name, first, 70);
    let begin = async || store.begin_unlocked(&name).await.unwrap();
    let (append, follows) = begin().await.append(decided.rows()).await.unwrap();
    assert!(follows);
    assert_eq!(append.head, first);
    append.commit().await.unwrap();
    let written = store.read_for_audit(&name, 1, 100).await.unwrap();
    let records: Vec<_> = written.iter().map(|(record, _)| record.clone()).collect();
    assert_eq!(records, decided.events);
    let contents = written.into_iter().filter_map(|(r, content)| Some((r.position, content?)));
    assert_eq!(contents.collect::<Vec<_>>(), decided.contents);

    // nothing, after another event; the lock is held all the same
    let head = store.head(&name).await.unwrap();
    let edited = Head { chain_hash: first.chain_hash, ..head };
    for other in [first, edited] {
        let late = decided_after(&name, other, 2);
        let (mut append, follows) = begin().await.append(late.rows()).await.unwrap();
        assert!(!follows);
        assert_eq!(append.head, head);
        insert(&mut append, vec![(event("x", "{}"), None)]).await;
        append.rollback().await.unwrap();
    }
    let empty = decided_after(&name, head, 0);
    let (append, follows) = begin().await.append(empty.rows()).await.unwrap();
    assert!(follows, "an empty append fits every head");
    append.commit().await.unwrap();
    assert_eq!(store.head(&name).await.unwrap(), head);

    let unlocked = store.begin_unlocked(&engine("nobody")).await.unwrap();
    let nobody = unlocked.append(decided.rows()).await;
    assert_eq!(nobody.err(), Some(StoreError::EngineMissing(engine("nobody"))));
}

async fn rows_that_waited_for_the_lock_follow_the_rows_before_them(test: TestStore) {
    const WAITING: &str = "SELECT count(*)::text FROM pg_locks WHERE NOT granted";
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let one = decided_after(&name, store.head(&name).await.unwrap(), 3);
    let last = one.events.last().unwrap();
    let (position, chain_hash) = (last.position, last.chain_hash);
    let two = decided_after(&name, Head { position, chain_hash, recorded_at: 0 }, 2);
    let unlocked = store.begin_unlocked(&name).await.unwrap();
    let (append, follows) = unlocked.append(one.rows()).await.unwrap();
    assert!(follows);
    let behind = async {
        let unlocked = store.begin_unlocked(&name).await.unwrap();
        let (append, follows) = unlocked.append(two.rows()).await.unwrap();
        assert!(follows);
        append.commit().await.unwrap();
    };
    let commit = async {
        // SQLite has one connection that writes: there it waits for that
        if !test.database.is_sqlite() {
            eventually("the second append waits for the lock", async || {
                match test.database.query_text(WAITING).await.as_str() {
                    "0" => Err("no lock is awaited"),
                    _ => Ok(()),
                }
            })
            .await;
        }
        append.commit().await.unwrap();
    };
    tokio::join!(behind, commit);
    assert_eq!(store.head(&name).await.unwrap().position, 6);
}

async fn a_rollback_or_a_drop_leaves_nothing(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let mut given_up = store.begin(&name).await.unwrap();
    insert(&mut given_up, vec![(event("x", "{}"), content("c", None))]).await;
    given_up.rollback().await.unwrap();
    let mut dropped = store.begin(&name).await.unwrap();
    insert(&mut dropped, vec![(event("x", "{}"), content("c", None))]).await;
    drop(dropped);
    let next = store.begin(&name).await.unwrap();
    assert_eq!(next.head.position, 1);
    next.rollback().await.unwrap();
    assert_eq!(store.contents(&name, &[2]).await.unwrap(), vec![]);
}

async fn interleaved_writers_are_serialised(test: TestStore) {
    const EACH: u64 = 10;
    let (test, name) = (&test, engine("e"));
    let store = &test.store;
    create(store, &name).await;
    create(store, &engine("f")).await;
    let writer = |engine| async move {
        let store = test.replica(test.options.clone()).await;
        for _ in 0..EACH {
            append(&store, &engine, vec![(event("a", "{}"), None), (event("b", "{}"), None)]).await;
        }
    };
    tokio::join!(writer(name.clone()), writer(engine("f")), writer(name.clone()));
    let records = store.read(&name, 0, 1_000).await.unwrap();
    let positions: Vec<u64> = records.iter().map(|record| record.position).collect();
    assert_eq!(positions, (1..=4 * EACH + 1).collect::<Vec<_>>());
    let pairs: Vec<&str> = records[1..].iter().map(|record| record.kind.as_str()).collect();
    assert!(pairs.chunks(2).all(|pair| pair == ["a", "b"]), "batches are whole");
    assert!(records.is_sorted_by_key(|record| record.recorded_at));
}

async fn an_unknown_engine_is_refused(test: TestStore) {
    let missing = test.store.begin(&engine("nobody")).await.err();
    assert_eq!(missing, Some(StoreError::EngineMissing(engine("nobody"))));
    assert_eq!(test.store.engine(&engine("nobody")).await.unwrap(), None);
}

async fn an_engine_is_made_once(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    let row = create(store, &name).await;
    let first = place(&name, Head::before_first(&name), 5, vec![(event("x", "{}"), None)]);
    let row = EngineRow { created_at: 99, ..row };
    let again = store.create_engine(&row, &first[0].0, None).await;
    assert_eq!(again, Err(CommitError::Failed(StoreError::EngineExists(name.clone()))));
    assert_eq!(store.engine(&name).await.unwrap().unwrap().created_at, 1_000);
    assert_eq!(store.head(&name).await.unwrap().position, 1);
}

async fn a_held_row_times_out(test: TestStore) {
    let name = engine("e");
    let hasty = Options { lock_timeout: Duration::from_millis(100), ..test.options.clone() };
    create(&test.store, &name).await;
    if test.database.is_sqlite() {
        test.store.close().await;
    }
    let store = mlsdm::store::Store::open(&hasty).await.unwrap();
    let holder = store.begin(&name).await.unwrap();
    let error = store.begin(&name).await.err().expect("the row is held");
    assert!(matches!(error, StoreError::Timeout(_)), "{error}");
    assert!(error.is_transient());
    holder.rollback().await.unwrap();
    store.begin(&name).await.unwrap().rollback().await.unwrap();
}

async fn a_failed_statement_aborts_the_transaction(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let mut transaction = store.begin(&name).await.unwrap();
    insert(&mut transaction, vec![(event("x", "{}"), None)]).await;
    let taken = place(&name, Head::before_first(&name), 5, vec![(event("x", "{}"), None)]);
    let error = insert_placed(&mut transaction, taken).await.unwrap_err();
    assert!(matches!(error, StoreError::Other(_)), "{error}");
    assert!(matches!(transaction.commit().await, Err(CommitError::Failed(_))));
    assert_eq!(store.head(&name).await.unwrap().position, 1);
}

async fn time_never_falls(test: TestStore) {
    let name = engine("e");
    create(&test.store, &name).await;
    let time = Arc::new(AtomicI64::new(5_000));
    let clock = Arc::clone(&time);
    let options = Options {
        clock: Some(Arc::new(move || clock.load(Ordering::Relaxed))),
        ..test.options.clone()
    };
    if test.database.is_sqlite() {
        test.store.close().await;
    }
    let store = mlsdm::store::Store::open(&options).await.unwrap();
    append(&store, &name, vec![(event("x", "{}"), None)]).await;
    time.store(3_000, Ordering::Relaxed);
    append(&store, &name, vec![(event("x", "{}"), None)]).await;
    time.store(6_000, Ordering::Relaxed);
    append(&store, &name, vec![(event("x", "{}"), None)]).await;
    let times = store.read(&name, 0, 10).await.unwrap();
    let times: Vec<i64> = times.iter().map(|record| record.recorded_at).collect();
    assert_eq!(times, [1_000, 5_000, 5_000, 6_000]);
}

async fn the_databases_clock_is_used(test: TestStore) {
    let name = engine("e");
    create(&test.store, &name).await;
    let transaction = test.store.begin(&name).await.unwrap();
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    let apart = (i128::from(transaction.now) - now).abs();
    assert!(apart < 60_000_000, "{apart} µs between the clocks of one machine");
}

async fn events_cannot_be_changed(test: TestStore) {
    create(&test.store, &engine("e")).await;
    for statement in ["UPDATE events SET actor = 'x'", "DELETE FROM events"] {
        let error = test.database.execute(statement).await.unwrap_err().to_string();
        assert!(error.contains("events are never changed or deleted"), "{error}");
    }
    if !test.database.is_sqlite() {
        test.database.execute("TRUNCATE events").await.unwrap_err();
    }
    assert_eq!(test.store.head(&engine("e")).await.unwrap().position, 1);
}
