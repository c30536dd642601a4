//! A network before PostgreSQL that breaks: what the store answers, and when.

use std::time::Duration;

use mlsdm::{
    store::{CommitError, Options, Store, StoreError},
    testkit::{
        TestDatabase,
        cut_proxy::{CommitFault, CutProxy},
        postgres,
    },
};

use crate::events::{append, content, create, engine, event, insert};

/// A store behind a proxy, with one engine that has one event.
struct Network {
    proxy: CutProxy,
    store: Store,
    _database: TestDatabase,
}

impl Network {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let database = TestDatabase::postgres().await;
        let proxy = CutProxy::before(postgres::shared().port()).await;
        let mut options = Options::new(proxy.url(database.url()));
        options.connect_timeout = Duration::from_secs(2);
        change(&mut options);
        let store = Store::open(&options).await.unwrap();
        store.migrate().await.unwrap();
        create(&store, &engine("e")).await;
        append(&store, &engine("e"), vec![(event("x", "{}"), content("c", None))]).await;
        Self { proxy, store, _database: database }
    }

    /// The outcome of an append while the network breaks.
    async fn commit(&self) -> Result<(), CommitError> {
        let mut transaction = self.store.begin(&engine("e")).await.unwrap();
        insert(&mut transaction, vec![(event("y", "{}"), None)]).await;
        transaction.commit().await
    }

    async fn position(&self) -> u64 {
        self.store.head(&engine("e")).await.unwrap().position
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_eaten_is_in_the_log_and_its_outcome_is_unknown() {
    let network = Network::new().await;
    network.proxy.at_commit([CommitFault::EatAnswer]);
    let outcome = network.commit().await;
    assert!(
        matches!(outcome, Err(CommitError::Unknown(StoreError::Unavailable(_)))),
        "{outcome:?}"
    );
    assert_eq!(network.proxy.planned(), 0);
    assert_eq!(network.position().await, 3);
}

#[tokio::test]
async fn a_commit_that_is_reset_before_it_arrives_is_not_in_the_log() {
    let network = Network::new().await;
    network.proxy.at_commit([CommitFault::Passes, CommitFault::ResetBefore]);
    network.commit().await.unwrap();
    let outcome = network.commit().await;
    assert!(
        matches!(outcome, Err(CommitError::Unknown(StoreError::Unavailable(_)))),
        "{outcome:?}"
    );
    assert_eq!(network.position().await, 3);
}

#[tokio::test]
async fn a_connection_that_is_cut_amid_a_message_is_replaced() {
    let network = Network::new().await;
    network.proxy.cut_after(40);
    let cut = network.store.head(&engine("e")).await;
    assert!(matches!(cut, Err(StoreError::Unavailable(_))), "{cut:?}");
    assert_eq!(network.position().await, 2);
}
