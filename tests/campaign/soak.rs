//! Load without a fault.

mod heavy {
    use std::time::Duration;

    use mlsdm::testkit::TestDatabase;

    use crate::{report::Promise, run::Scenario};

    /// A run ends after this number of answered calls or this time.
    const ANSWERS: u64 = 400_000;
    const MINUTES: u64 = 5;
    /// `SQLite` answers more calls in the same time.
    const MINUTES_SQLITE: u64 = 15;

    async fn soak(name: &'static str, database: TestDatabase, replicas: usize, minutes: u64) {
        let run = Scenario::new(name, database.url()).replicas(replicas).start().await;
        run.answers(ANSWERS, Duration::from_mins(minutes)).await;
        run.finish().await.keeps(Promise::STANDARD);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_does_not_grow_under_load() {
        soak("None: load only", TestDatabase::postgres().await, 2, MINUTES).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_does_not_grow_under_load_on_sqlite() {
        soak("None: load only (SQLite)", TestDatabase::sqlite(), 1, MINUTES_SQLITE).await;
    }
}
