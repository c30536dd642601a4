//! Clocks that jump: libfaketime gives a server another time of day than its machine has.

mod heavy {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
        path::Path,
        time::Duration,
    };

    use mlsdm::testkit::{TestDatabase, postgres::private_cluster_with};
    use serde_json::Value;
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
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

    /// Variables that give a process the clock of this file.
    fn variables(clock: &Path) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn with_clock(scenario: Scenario, clock: &Path) -> Scenario {
        let add = |scenario: Scenario, (name, value): (&str, String)| {
            scenario.of_replica(0, name, &value)
        };
        variables(clock).into_iter().fold(scenario, add)
    }

    /// True for a time of the clock that is a day ahead.
    fn is_ahead(time: OffsetDateTime) -> bool {
        time - OffsetDateTime::now_utc() > time::Duration::hours(12)
    }

    fn logs_ahead(log: &str) -> bool {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().any(|line| {
            let time = line["timestamp"].as_str().unwrap();
            is_ahead(OffsetDateTime::parse(time, &Rfc3339).unwrap())
        })
    }

    async fn jumps(mut run: Run, clock: &Path) {
        for offset in ["-1h", "+1d", "+0"] {
            run.fault(async |fleet| {
                set(clock, offset);
                sleep(Duration::from_secs(3)).await;
                assert_eq!(
                    logs_ahead(&fleet.server(0).log()),
                    offset != "-1h",
                    "the log of the server has its clock"
                );
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

    /// The jump by an hour back leads from a clock that is ahead to the true one: PostgreSQL asks for the
    /// time in signal handlers, which get the true time while libfaketime waits. With a clock behind the
    /// true one its timeouts would end too early.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_clock_of_postgresql_that_jumps_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let clock = folder.path().join("clock");
        set(&clock, "+1h");
        let cluster = private_cluster_with(variables(&clock).to_vec());
        let database = TestDatabase::within(&cluster).await;
        let name = "Clock of PostgreSQL jumps: −1 h, +1 d, back";
        let mut run = Scenario::new(name, database.url()).start().await;
        for offset in ["+0", "+1d", "+0"] {
            run.fault(async |_| {
                set(&clock, offset);
                sleep(Duration::from_secs(3)).await;
                let time = "SELECT extract(epoch FROM clock_timestamp())::bigint::text";
                let time: i64 = database.query_text(time).await.parse().unwrap();
                let time = OffsetDateTime::from_unix_timestamp(time).unwrap();
                assert_eq!(is_ahead(time), offset == "+1d", "{time}");
            })
            .await;
        }
        run.finish().await.keeps(Promise::STANDARD);
    }
}
