//! Load without a fault.

mod heavy {
    use std::time::Duration;

    use mlsdm::testkit::TestDatabase;

    use crate::{report::Promise, run::Scenario};

    /// The number of calls that are answered.
    const ANSWERS: u64 = 100_000;
    const TIME_MAX: Duration = Duration::from_mins(10);

    async fn soak(name: &'static str, database: TestDatabase, replicas: usize) {
        let run = Scenario::new(name, database.url()).replicas(replicas).start().await;
        run.answers(ANSWERS, TIME_MAX).await;
        run.finish().await.keeps(Promise::STANDARD);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_does_not_grow_under_load() {
        soak("None: load only", TestDatabase::postgres().await, 2).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_does_not_grow_under_load_on_sqlite() {
        soak("None: load only (SQLite)", TestDatabase::sqlite(), 1).await;
    }
}
