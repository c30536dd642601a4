//! Load without a fault.

mod heavy {
    use std::time::Duration;

    use mlsdm::testkit::TestDatabase;

    use crate::{report::Promise, run::Scenario};

    /// The number of calls that are answered.
    const ANSWERS: u64 = 100_000;
    const TIME_MAX: Duration = Duration::from_mins(10);

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_does_not_grow_under_load() {
        let database = TestDatabase::postgres().await;
        let run = Scenario::new("None: load only", database.url()).start().await;
        run.answers(ANSWERS, TIME_MAX).await;
        run.finish().await.keeps(Promise::STANDARD);
    }
}
