//! A PostgreSQL that becomes unavailable: the errors that the writer gets.

use std::time::Duration;

use mlsdm::{
    store::{CommitError, Options, Store, StoreError},
    testkit::{Backend, TestDatabase, TestStore, eventually, postgres},
};

use crate::events::{append, content, create, engine, event, insert};

#[tokio::test]
async fn a_crash_leaves_the_outcome_unknown_and_the_store_recovers() {
    let cluster = postgres::private_cluster();
    let database = TestDatabase::within(&cluster).await;
    let options =
        Options { connect_timeout: Duration::from_secs(2), ..Options::new(database.url()) };
    let store = Store::open(&options).await.unwrap();
    store.migrate().await.unwrap();
    let name = engine("e");
    create(&store, &name).await;
    append(&store, &name, vec![(event("x", "{}"), content("c", None))]).await;

    let mut transaction = store.begin(&name).await.unwrap();
    insert(&mut transaction, vec![(event("lost", "{}"), None)]).await;
    cluster.crash();
    let outcome = transaction.commit().await;
    assert!(
        matches!(outcome, Err(CommitError::Unknown(StoreError::Unavailable(_)))),
        "{outcome:?}"
    );
    let down = store.head(&name).await.unwrap_err();
    assert!(matches!(down, StoreError::Unavailable(_)), "{down}");
    assert!(down.is_transient());

    cluster.start();
    assert_eq!(store.head(&name).await.unwrap().position, 2, "what was answered is there");
    assert_eq!(append(&store, &name, vec![(event("x", "{}"), None)]).await, 3);
}

#[tokio::test]
async fn an_orderly_stop_is_unavailable_too() {
    let cluster = postgres::private_cluster();
    let database = TestDatabase::within(&cluster).await;
    let options =
        Options { connect_timeout: Duration::from_secs(2), ..Options::new(database.url()) };
    let store = Store::open(&options).await.unwrap();
    store.migrate().await.unwrap();
    let name = engine("e");
    create(&store, &name).await;
    let mut transaction = store.begin(&name).await.unwrap();
    cluster.stop();
    let error = transaction.tail(0, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(matches!(transaction.commit().await, Err(CommitError::Failed(_))));
    let refused = Store::open(&options).await.err().expect("it is down");
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    cluster.start();
    Store::open(&options).await.unwrap();
}

/// PostgreSQL reports such a commit as done, with a warning, when a timeout of its own ends the wait.
#[tokio::test]
async fn a_commit_that_no_standby_has_is_unknown() {
    let cluster = postgres::private_cluster();
    let database = TestDatabase::within(&cluster).await;
    let second = Duration::from_secs(1);
    let mut options = Options::new(database.url());
    (options.statement_timeout, options.lock_timeout) = (second, second);
    options.answer_margin = second;
    let store = Store::open(&options).await.unwrap();
    store.migrate().await.unwrap();
    let name = engine("e");
    create(&store, &name).await;
    let mut transaction = store.begin(&name).await.unwrap();
    insert(&mut transaction, vec![(event("x", "{}"), None)]).await;
    let reload = "SELECT pg_reload_conf()";
    database.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'").await.unwrap();
    database.execute(reload).await.unwrap();
    eventually("the setting", async || {
        match database.query_text("SHOW synchronous_standby_names").await.as_str() {
            "away" => Ok(()),
            other => Err(format!("it is {other:?}")),
        }
    })
    .await;
    let outcome = transaction.commit().await;
    assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
    // ends the wait of the server process
    database.execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    database.execute(reload).await.unwrap();
    append(&store, &name, vec![(event("x", "{}"), None)]).await;
}

/// The worker threads of the HTTP server have runtimes of their own, which end before the last step.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_the_runtime_of_its_first_user() {
    let test = TestStore::on(Backend::Postgres).await;
    let (store, name) = (test.store.clone(), engine("e"));
    create(&store, &name).await;
    // takes the connection that exists
    let transaction = store.begin(&name).await.unwrap();
    let reader = store.clone();
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { reader.engines().await.unwrap() });
    });
    worker.join().unwrap();
    assert_eq!(store.engines().await.unwrap().len(), 1);
    transaction.rollback().await.unwrap();
}
