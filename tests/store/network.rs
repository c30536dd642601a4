//! A network before PostgreSQL that breaks: what the store answers, and when.

use std::time::Duration;

use futures_util::FutureExt as _;
use mlsdm::{
    store::{CommitError, Options, Store, StoreError},
    testkit::{
        TestDatabase,
        cut_proxy::{CommitFault, CutProxy},
        eventually,
        postgres::{self, Cluster},
    },
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::events::{append, content, create, engine, event, insert};

/// A store behind a proxy, with one engine that has one event.
struct Network {
    proxy: CutProxy,
    store: Store,
    database: TestDatabase,
}

impl Network {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::within(postgres::shared(), change).await
    }

    /// A store that soon gives up a call without an answer.
    async fn impatient() -> Self {
        let soon = Duration::from_secs(1);
        Self::with(|options| {
            options.connect_timeout = soon;
            options.statement_timeout = soon;
            options.lock_timeout = soon;
            options.idle_timeout = soon / 2;
            options.answer_margin = soon;
        })
        .await
    }

    async fn within(cluster: &Cluster, change: impl FnOnce(&mut Options)) -> Self {
        let database = TestDatabase::within(cluster).await;
        let proxy = CutProxy::before(cluster.port()).await;
        let mut options = Options::new(proxy.url(database.url()));
        options.connect_timeout = Duration::from_secs(2);
        change(&mut options);
        let store = Store::open(&options).await.unwrap();
        store.migrate().await.unwrap();
        create(&store, &engine("e")).await;
        append(&store, &engine("e"), vec![(event("x", "{}"), content("c", None))]).await;
        Self { proxy, store, database }
    }

    /// The outcome of an append while the network breaks.
    async fn commit(&self) -> Result<(), CommitError> {
        let mut transaction = self.store.begin(&engine("e")).await.unwrap();
        insert(&mut transaction, vec![(event("y", "{}"), None)]).await;
        transaction.commit().await
    }

    /// Makes so many connections idle.
    async fn idle_connections(&self, count: usize) {
        let mut transactions = Vec::new();
        for n in 0..count {
            let name = engine(&format!("idle{n}"));
            create(&self.store, &name).await;
            transactions.push(self.store.begin(&name).await.unwrap());
        }
        for transaction in transactions {
            transaction.rollback().await.unwrap();
        }
        eventually("idle connections", async || match self.store.pools()[0].1.idle {
            idle if idle >= count => Ok(()),
            _ => Err("they are in use"),
        })
        .await;
    }

    async fn direct(&self) -> PgConnection {
        PgConnection::connect(self.database.direct_url()).await.unwrap()
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
async fn an_engine_is_made_once_whatever_happens_to_the_answer_of_its_commit() {
    let network = Network::impatient().await;
    let faults = [
        CommitFault::EatAnswer,
        CommitFault::ResetBefore,
        CommitFault::Hole,
        CommitFault::HoleBefore,
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        network.proxy.at_commit([fault]);
        let name = engine(&format!("made{n}"));
        // it panics on an error
        create(&network.store, &name).await;
        assert_eq!(network.proxy.planned(), 0, "{fault:?}");
        assert_eq!(network.store.head(&name).await.unwrap().position, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_amid_a_message_is_replaced() {
    let network = Network::new().await;
    network.proxy.cut_after(40);
    let cut = network.store.head(&engine("e")).await;
    assert!(matches!(cut, Err(StoreError::Unavailable(_))), "{cut:?}");
    assert_eq!(network.position().await, 2);
}

#[tokio::test]
async fn a_commit_without_an_answer_is_given_up_and_its_outcome_is_unknown() {
    let network = Network::impatient().await;
    for (fault, position) in [(CommitFault::Hole, 3), (CommitFault::HoleBefore, 3)] {
        network.proxy.at_commit([fault]);
        let outcome = network.commit().await;
        let unknown = matches!(outcome, Err(CommitError::Unknown(StoreError::Unavailable(_))));
        assert!(unknown, "{fault:?}: {outcome:?}");
        // the lock is free as soon as the server has ended the transaction of the silent connection
        eventually("an append", async || match network.store.begin(&engine("e")).await {
            Ok(append) => {
                assert_eq!(append.head.position, position, "{fault:?}");
                append.rollback().await
            }
            Err(error) => Err(error),
        })
        .await;
    }
}

#[tokio::test]
async fn a_statement_on_a_silent_connection_is_given_up() {
    let network = Network::impatient().await;
    let mut transaction = network.store.begin(&engine("e")).await.unwrap();
    network.proxy.silence();
    let error = transaction.tail(0, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    drop(transaction);
    assert_eq!(network.position().await, 2, "on a new connection");
}

#[tokio::test]
async fn silent_connections_do_not_keep_their_places_in_the_pool() {
    let network = Network::impatient().await;
    let name = engine("e");
    // together more than the pool has places
    for _ in 0..4 {
        let read = || network.store.head(&name);
        let (a, b, c, d) = tokio::join!(read(), read(), read(), read());
        assert!([a, b, c, d].iter().all(Result::is_ok));
        // some are being returned at this moment
        network.proxy.silence();
        eventually("a read on a new connection", async || network.store.head(&name).await).await;
    }
}

#[tokio::test]
async fn a_check_of_idle_connections_drops_the_dead_ones() {
    let network = Network::impatient().await;
    network.position().await;
    eventually("the return of the connection", async || match network.store.pools()[0].1.idle {
        0 => Err("none is idle"),
        _ => Ok(()),
    })
    .await;
    network.proxy.silence();
    network.store.check_idle_connections().await;
    assert_eq!(network.store.pools()[0].1.idle, 0);
    assert_eq!(network.position().await, 2);
}

#[tokio::test]
async fn an_idle_connection_without_an_answer_empties_the_pool_even_if_its_caller_gives_up() {
    let network = Network::with(|options| {
        // a ping may take a second
        options.connect_timeout = Duration::from_millis(500);
        options.trusted_idle = Duration::ZERO;
    })
    .await;
    network.idle_connections(3).await;
    network.proxy.silence();
    network.store.head(&engine("e")).await.ok();
    assert_eq!(network.store.pools()[0].1.idle, 0, "none of the others is asked");
    assert_eq!(network.position().await, 2);
}

#[tokio::test]
async fn a_caller_who_leaves_a_long_read_leaves_the_idle_connections_alone() {
    let network = Network::with(|options| options.connect_timeout = Duration::from_secs(1)).await;
    network.idle_connections(3).await;
    let mut owner = network.direct().await;
    let mut lock = owner.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let name = engine("e");
    let mut read = Box::pin(network.store.read(&name, 0, 1));
    eventually("the read that waits", async || {
        assert!(read.as_mut().now_or_never().is_none(), "the table is locked");
        let waits =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut *lock).await.unwrap();
        if waits == 0 { Err("it does not wait yet") } else { Ok(()) }
    })
    .await;
    drop(read);
    eventually("the end of the call", async || match network.store.pools()[0].1.used {
        0 => Ok(()),
        _ => Err("it is in use"),
    })
    .await;
    assert!(network.store.pools()[0].1.idle >= 2, "{:?}", network.store.pools());
}

#[tokio::test]
async fn a_standby_refuses_to_write_and_its_connections_are_dropped() {
    let cluster = postgres::private_cluster();
    let network = Network::within(&cluster, |_| {}).await;
    cluster.demote();
    // those that the restart of the server ended
    network.store.check_idle_connections().await;
    let seen = network.proxy.accepted();
    for attempt in 1..=2 {
        let error = network.store.begin(&engine("e")).await.err().expect("it is a standby");
        assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
        assert!(network.proxy.accepted() >= seen + attempt, "a new connection each time");
    }
    cluster.promote();
    network.commit().await.unwrap();
    assert_eq!(network.position().await, 3);
}

#[tokio::test]
async fn refused_logins_are_unavailable() {
    let network = Network::new().await;
    let (server, name) = network.database.direct_url().rsplit_once('/').unwrap();
    let mut owner = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let mut allow = async |allowed: bool| {
        let change = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}");
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut owner).await.unwrap();
    };
    allow(false).await;
    network.proxy.reset();
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.extend(network.store.head(&engine("e")).await.err());
    }
    assert!(errors.len() >= 2, "no connection is left: {errors:?}");
    assert!(errors.iter().all(|e| matches!(e, StoreError::Unavailable(_))), "{errors:?}");
    allow(true).await;
    assert_eq!(network.position().await, 2);
}
