//! Reads: pages, heads, contents, endings, and payloads that are returned byte for byte.

use mlsdm::{
    store::{Head, Store, StoreError},
    testkit::{Backend, TestStore, on_every_database},
};

use crate::events::{append, content, create, engine, event, step_event};

on_every_database!(
    TestStore and PgBouncer:
    pages_end_at_their_limit,
    heads_are_read_in_one_query,
    payload_bytes_are_returned_unchanged,
    null_and_empty_are_distinguished,
    vectors_and_contents_are_joined,
    endings_are_found,
    contents_and_events_without_an_engine_are_listed,
    a_read_only_store_cannot_write,
    missing_tables_are_reported,
);

async fn pages_end_at_their_limit(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    append(store, &name, vec![(event("x", "{}"), None); 9]).await;
    let positions = |after, limit| {
        let name = name.clone();
        async move {
            let records = store.read(&name, after, limit).await.unwrap();
            records.iter().map(|record| record.position).collect::<Vec<_>>()
        }
    };
    assert_eq!(positions(0, 3).await, [1, 2, 3]);
    assert_eq!(positions(3, 3).await, [4, 5, 6]);
    assert_eq!(positions(8, 3).await, [9, 10]);
    assert_eq!(positions(10, 3).await, [0_u64; 0]);
    assert_eq!(store.record(&name, 4).await.unwrap().unwrap().position, 4);
    assert_eq!(store.record(&name, 11).await.unwrap(), None);
    assert_eq!(store.read(&engine("nobody"), 0, 3).await.unwrap(), []);
}

async fn heads_are_read_in_one_query(test: TestStore) {
    let store = &test.store;
    let names = ["b", "a", "c"].map(engine);
    for name in &names {
        create(store, name).await;
    }
    append(store, &names[0], vec![(event("x", "{}"), None); 4]).await;
    let asked = [names.as_slice(), &[engine("nobody")]].concat();
    let mut heads = store.heads(&asked).await.unwrap();
    heads.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [("a", 1), ("b", 5), ("c", 1)];
    assert_eq!(heads.len(), expected.len());
    for ((name, head), (expected, position)) in heads.iter().zip(expected) {
        assert_eq!((name.as_str(), head.position), (expected, position));
        assert_eq!(*head, store.head(name).await.unwrap());
    }
    assert_eq!(store.heads(&[]).await.unwrap(), []);
    let nobody = engine("nobody");
    assert_eq!(store.head(&nobody).await.unwrap(), Head::before_first(&nobody));
    let engines = store.engines().await.unwrap();
    let listed: Vec<&str> = engines.iter().map(|row| row.engine_id.as_str()).collect();
    assert_eq!(listed, ["a", "b", "c"]);
}

async fn payload_bytes_are_returned_unchanged(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let mut record = event("x", r#"{"b":1.10,  "a":1e400, "ü":"\u00fc"}"#);
    record.payload.extend([0, 255, 10]);
    let payload = record.payload.clone();
    append(store, &name, vec![(record, None)]).await;
    assert_eq!(store.record(&name, 2).await.unwrap().unwrap().payload, payload);
}

async fn null_and_empty_are_distinguished(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let mut empty = event("", "");
    empty.request_id = Some(String::new());
    empty.actor = Some(String::new());
    let events = vec![
        (empty, content("", Some(&[]))),
        (event("x", "{}"), content("", None)),
        (event("x", "{}"), None),
    ];
    append(store, &name, events).await;
    let rows = store.read_for_audit(&name, 1, 10).await.unwrap();
    assert_eq!(rows[0].0.request_id.as_deref(), Some(""));
    assert_eq!(rows[0].0.actor.as_deref(), Some(""));
    assert_eq!(rows[1].0.request_id, None);
    assert_eq!(rows[1].0.actor, None);
    assert_eq!(
        [&rows[0].1, &rows[1].1, &rows[2].1],
        [&content("", Some(&[])), &content("", None), &None]
    );
}

async fn vectors_and_contents_are_joined(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let events = vec![
        (event("x", "{}"), content("a", Some(&[1]))),
        (event("x", "{}"), content("b", None)),
        (event("x", "{}"), content("c", Some(&[3]))),
    ];
    append(store, &name, events).await;
    let vectors: Vec<_> = store.read_for_fold(&name, 0, 10).await.unwrap();
    let vectors: Vec<_> = vectors.into_iter().map(|(_, vector)| vector).collect();
    assert_eq!(vectors, [None, Some(vec![1]), None, Some(vec![3])]);
    let contents = store.contents(&name, &[4, 2, 1, 99]).await.unwrap();
    assert_eq!(contents.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [2, 4]);
    let mut transaction = store.begin(&name).await.unwrap();
    assert_eq!(transaction.tail(2, 1).await.unwrap()[0].0.position, 3);
    assert_eq!(transaction.delete_contents(&[2, 1, 99]).await.unwrap(), 1);
    transaction.commit().await.unwrap();
    assert_eq!(store.contents(&name, &[2, 4]).await.unwrap().len(), 1);
}

async fn endings_are_found(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let kinds = [
        ("step.admitted", 1),
        ("step.admitted", 2),
        ("step.rejected", 3),
        ("memory.consolidated", 1),
        ("step.failed", 2),
        ("step.completed", 1),
        ("step.failed", 1),
    ];
    let events = kinds.map(|(kind, step)| (step_event(kind, step, 1), None));
    append(store, &name, events.to_vec()).await;
    let ending = |step, after| {
        let name = name.clone();
        async move {
            let ending = store.ending_of(&name, step, after).await.unwrap();
            ending.map(|record| record.position)
        }
    };
    assert_eq!(ending(1, 0).await, Some(7));
    assert_eq!(ending(1, 7).await, Some(8));
    assert_eq!(ending(1, 8).await, None);
    assert_eq!(ending(2, 3).await, Some(6));
    assert_eq!(ending(3, 3).await, Some(4));
    assert_eq!(ending(4, 0).await, None);
}

async fn contents_and_events_without_an_engine_are_listed(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    assert_eq!(store.unknown_engines().await.unwrap(), Vec::<String>::new());
    create(store, &engine("gone")).await;
    create(store, &engine("z")).await;
    test.database
        .execute(
            "DELETE FROM engines WHERE engine_id = 'gone';
             INSERT INTO contents (engine_id, position, sealed) SELECT 'never', 1, index_key
             FROM engines WHERE engine_id = 'e'",
        )
        .await
        .unwrap();
    assert_eq!(store.unknown_engines().await.unwrap(), ["gone", "never"]);
}

async fn a_read_only_store_cannot_write(test: TestStore) {
    let name = engine("e");
    create(&test.store, &name).await;
    let reader = Store::open_read_only(&test.options).await.unwrap();
    assert_eq!(reader.head(&name).await.unwrap().position, 1);
    append(&test.store, &name, vec![(event("x", "{}"), None)]).await;
    assert_eq!(reader.head(&name).await.unwrap().position, 2);
    assert!(matches!(reader.begin(&name).await.err(), Some(StoreError::ReadOnly(_))));
    assert!(matches!(reader.purge_idempotency(0).await, Err(StoreError::ReadOnly(_))));
    reader.close().await;
}

async fn missing_tables_are_reported(test: TestStore) {
    test.database.execute("DROP TABLE contents").await.unwrap();
    let error = test.store.contents(&engine("e"), &[1]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unmigrated(_)), "{error}");
}

/// The tables are those of an earlier version, whose migrations made no functions.
#[tokio::test]
async fn missing_functions_are_reported() {
    let test = TestStore::on(Backend::Postgres).await;
    let functions = "DROP FUNCTION log_heads; DROP FUNCTION unknown_engines";
    test.database.execute(functions).await.unwrap();
    for error in [
        test.store.heads(&[engine("e")]).await.unwrap_err(),
        test.store.unknown_engines().await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Unmigrated(_)), "{error}");
        assert!(error.to_string().contains("mlsdm upgrade tables"), "{error}");
    }
}
