//! The keys of the events' MACs, on every database.

use mlsdm::{
    store::keys::ContentKey,
    testkit::{CONTENT_KEY, TestStore, on_every_database},
};

on_every_database!(
    TestStore and PgBouncer:
    key_1_is_made_once,
    a_key_that_the_content_key_does_not_open_is_ignored,
    a_further_key_takes_the_next_free_id,
);

fn content_key() -> ContentKey {
    ContentKey::from_text(CONTENT_KEY).unwrap()
}

async fn key_1_is_made_once(test: TestStore) {
    let key = content_key();
    let other = test.replica(test.options.clone()).await;
    let (one, two) = tokio::join!(test.store.mac_key(&key), other.mac_key(&key));
    assert_eq!((one.unwrap().id(), two.unwrap().id()), (1, 1));
    assert_eq!(test.store.mac_key_rows(&[1, 2]).await.unwrap().len(), 1);
    let wrong = ContentKey::from_text(&"9".repeat(64)).unwrap();
    assert!(wrong.unwrap_mac_key(1, &test.store.mac_key_rows(&[1]).await.unwrap()[0].1).is_err());
}

async fn a_key_that_the_content_key_does_not_open_is_ignored(test: TestStore) {
    let junk = if test.database.is_sqlite() { "zeroblob(60)" } else { "'\\x00'" };
    let insert = format!("INSERT INTO mac_keys VALUES (7, 0, {junk})");
    test.database.execute(&insert).await.unwrap();
    assert!(test.store.mac_key(&content_key()).await.is_err(), "it must not make another key");
    test.database.execute("DELETE FROM mac_keys").await.unwrap();
    assert_eq!(test.store.mac_key(&content_key()).await.unwrap().id(), 1);
}

async fn a_further_key_takes_the_next_free_id(test: TestStore) {
    let key = content_key();
    assert_eq!(test.store.make_mac_key(&key).await.unwrap(), 2);
    let junk = if test.database.is_sqlite() { "zeroblob(60)" } else { "'\\x00'" };
    let insert = format!("INSERT INTO mac_keys VALUES (3, 0, {junk})");
    test.database.execute(&insert).await.unwrap();
    assert_eq!(test.store.make_mac_key(&key).await.unwrap(), 4);
    assert_eq!(test.store.mac_key(&key).await.unwrap().id(), 1, "until the log names the new key");
}
