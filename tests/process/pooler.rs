//! PgBouncer in transaction mode between the server and PostgreSQL.

use mlsdm::testkit::pgbouncer::pgbouncer;

use crate::{
    Kind,
    history::{History, equals_replay, verifies},
    load::{Load, seed},
    server::Setup,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_works_behind_a_pooler() {
    let database = Kind::Postgres.database().await;
    let direct = Setup::new(database.url());
    // migrations go by the direct URL, as the design says
    direct.serve().await.stop().await;

    let bouncer = pgbouncer(database.url());
    let pooled = Setup::new(bouncer.url()).with("MLSDM__DATABASE__POOLER", "true");
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
