//! Clocks that jump: libfaketime gives a server another time of day than its machine has.

mod heavy {
    use std::{fs, path::Path, time::Duration};

    use mlsdm::testkit::TestDatabase;
    use time::OffsetDateTime;
    use tokio::time::sleep;

    use crate::{
        report::Promise,
        run::{Run, Scenario},
    };

    /// Debian's package libfaketime, for programs with several threads.
    const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

    fn library() -> String {
        let folders = fs::read_dir("/usr/lib").unwrap().flatten();
        let found = folders.map(|folder| folder.path().join(LIBRARY)).find(|path| path.exists());
        found.expect("apt-get install libfaketime").display().to_string()
    }

    fn set(clock: &Path, offset: &str) {
        // renamed, since a server may read the file at any time
        let next = clock.with_extension("next");
        fs::write(&next, offset).unwrap();
        fs::rename(next, clock).unwrap();
    }

    fn with_clock(scenario: Scenario, clock: &Path) -> Scenario {
        scenario
            .of_replica(0, "LD_PRELOAD", &library())
            .of_replica(0, "FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
            .of_replica(0, "FAKETIME_NO_CACHE", "1")
            .of_replica(0, "FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    async fn jumps(mut run: Run, clock: &Path) {
        let tomorrow = (OffsetDateTime::now_utc() + time::Duration::DAY).date().to_string();
        for offset in ["-1h", "+1d", "+0"] {
            run.fault(async |fleet| {
                set(clock, offset);
                sleep(Duration::from_secs(3)).await;
                let there = fleet.server(0).log().contains(&tomorrow);
                assert_eq!(there, offset != "-1h", "the log of the server has its clock");
            })
            .await;
        }
        run.finish().await.keeps(Promise::STANDARD);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_clock_that_jumps_does_not_matter_on_sqlite() {
        let database = TestDatabase::sqlite();
        let clock = database.folder().unwrap().join("clock");
        set(&clock, "+0");
        let scenario = Scenario::new("Clock jumps (SQLite): −1 h, +1 d, back", database.url());
        let run = with_clock(scenario.replicas(1), &clock).start().await;
        jumps(run, &clock).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_clock_of_a_replica_that_jumps_does_not_matter() {
        let database = TestDatabase::postgres().await;
        let folder = tempfile::tempdir().unwrap();
        let clock = folder.path().join("clock");
        set(&clock, "+0");
        let scenario = Scenario::new("Clock of a replica jumps: −1 h, +1 d, back", database.url());
        let run = with_clock(scenario, &clock).start().await;
        jumps(run, &clock).await;
    }
}
