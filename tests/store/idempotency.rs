//! Idempotent requests: one row per key, ended or released by step, deleted after expiry.

use mlsdm::{
    domain::ids::EngineId,
    store::{IdempotencyKey, IdempotencyRow, PURGE_ROWS, Store},
    testkit::{TestStore, on_every_database},
};

use crate::events::{create, engine};

on_every_database!(TestStore and PgBouncer:idempotency_rows_are_found_ended_and_released, expired_rows_are_deleted_in_bounded_portions);

fn row(key: &str, step: u64) -> IdempotencyRow {
    IdempotencyRow {
        id: IdempotencyKey {
            name_hmac: [7; 32],
            route: "/v1/generate".to_owned(),
            key: key.to_owned(),
        },
        body_hmac: [8; 32],
        step,
        position: step + 1,
        ended_position: None,
        expires_at: 1_000 * step as i64,
    }
}

async fn insert(store: &Store, name: &EngineId, rows: &[IdempotencyRow]) {
    let mut transaction = store.begin(name).await.unwrap();
    transaction.insert_idempotency(rows).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn idempotency_rows_are_found_ended_and_released(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    create(store, &engine("f")).await;
    let rows = [row("a", 1), row("b\"',", 2), row("ü", 3)];
    insert(store, &name, &rows).await;
    insert(store, &engine("f"), &[row("a", 9)]).await;

    let mut transaction = store.begin(&name).await.unwrap();
    let other_route = IdempotencyKey { route: "/v1/other".to_owned(), ..rows[0].id.clone() };
    let keys = [rows[0].id.clone(), rows[1].id.clone(), row("z", 0).id, other_route];
    let mut found = transaction.idempotency(&keys).await.unwrap();
    found.sort_by_key(|row| row.step);
    assert_eq!(found, rows[..2]);
    transaction.end_idempotency(&[(2, 20), (3, 30), (99, 99)]).await.unwrap();
    transaction.free_idempotency(&[1, 99]).await.unwrap();
    transaction.end_idempotency(&[]).await.unwrap();
    transaction.free_idempotency(&[]).await.unwrap();
    transaction.commit().await.unwrap();

    assert_eq!(store.idempotency_row(&name, &rows[0].id).await.unwrap(), None);
    for (row, ended) in rows[1..].iter().zip([20, 30]) {
        let expected = IdempotencyRow { ended_position: Some(ended), ..row.clone() };
        assert_eq!(store.idempotency_row(&name, &row.id).await.unwrap(), Some(expected));
    }
    let other = store.idempotency_row(&engine("f"), &rows[0].id).await.unwrap();
    assert_eq!(other, Some(row("a", 9)), "rows of other engines are unchanged");
}

async fn expired_rows_are_deleted_in_bounded_portions(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let count = PURGE_ROWS as u64 + 5;
    let rows: Vec<_> = (1..=count).map(|step| row(&step.to_string(), step)).collect();
    insert(store, &name, &rows).await;
    assert_eq!(store.purge_idempotency(999).await.unwrap(), 0);
    assert_eq!(store.purge_idempotency(2_000).await.unwrap(), 2, "a row expires at `expires_at`");
    assert_eq!(store.purge_idempotency(i64::MAX).await.unwrap(), PURGE_ROWS as u64);
    assert_eq!(store.purge_idempotency(i64::MAX).await.unwrap(), 3);
}
