//! A server behind PgBouncer in transaction mode.

use mlsdm::testkit::{Backend, TestDatabase, TestEnv};

use crate::{
    history::{History, equals_replay, verifies},
    load::{Load, seed},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_work_behind_a_connection_pooler() {
    let database = TestDatabase::on(Backend::PgBouncer).await;
    let direct = TestEnv::new(database.direct_url());
    // migrations need a session, which a pooler in transaction mode does not give
    direct.serve().await.stop().await;

    let pooled = TestEnv::new(database.url()).with("MLSDM__DATABASE__POOLER", "true");
    let (one, two) = (pooled.serve().await, pooled.serve().await);
    let seen = Load::start(&[&one, &two], 16, 400, seed()).finish().await;
    let unanswered: Vec<_> = seen.iter().filter(|one| one.answer().is_none()).collect();
    assert!(unanswered.is_empty(), "{unanswered:?}");
    one.until_closed("default").await;
    let history = History::read(&one, "default").await;
    history.is_whole();
    history.holds(&seen);
    equals_replay(&one, &direct, "default").await;
    verifies(&direct, "default").await;
    one.stop().await;
    two.stop().await;
}
