//! Locks that another client of PostgreSQL, or a paused replica, holds.

use std::time::Duration;

use mlsdm::testkit::TestDatabase;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::sleep;

use crate::{extended, report::Promise, run::Scenario};

/// Holds the locks of a statement for a time.
async fn held(name: &'static str, statement: &'static str, time: Duration) {
    let database = TestDatabase::postgres().await;
    let mut run = Scenario::new(name, database.url()).start().await;
    run.fault(async |_| {
        let mut connection = PgConnection::connect(database.direct_url()).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        statement.execute(&mut *transaction).await.unwrap();
        sleep(time).await;
        transaction.rollback().await.unwrap();
    })
    .await;
    run.finish().await.keeps(Promise::STANDARD);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_is_missed_as_long_as_it_is_locked() {
    let time = Duration::from_secs(if extended() { 18 } else { 4 });
    held("Row of the engine locked, 18 s", "select * from engines for update", time).await;
}

mod heavy {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_locked_table_is_missed_as_long_as_it_is_locked() {
        let lock = "lock table events in access exclusive mode";
        held("Table of events locked, 12 s", lock, Duration::from_secs(12)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn paused_replicas_do_not_stop_their_sister() {
        let database = TestDatabase::postgres().await;
        let mut run = Scenario::new("Replica paused, 12 s", database.url()).start().await;
        for _ in 0..5 {
            run.fault(async |fleet| {
                fleet.pause(0).await;
                run_of_sister().await;
                fleet.resume(0).await;
            })
            .await;
        }
        run.finish().await.keeps(Promise::STANDARD);
    }

    async fn run_of_sister() {
        sleep(Duration::from_secs(12)).await;
    }
}
