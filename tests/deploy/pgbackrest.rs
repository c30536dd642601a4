//! The restore drill of deploy/OPERATIONS.md: a backup by pgBackRest, a restore to a point in time, and an
//! audit of the restored log.

mod heavy {
    use std::{
        fs,
        os::unix::{
            fs::{MetadataExt as _, chown},
            process::CommandExt as _,
        },
        path::{Path, PathBuf},
        process::Command,
    };

    use mlsdm::testkit::{TestDatabase, TestEnv, eventually, postgres};

    const GUIDE: &str = include_str!("../../deploy/OPERATIONS.md");
    /// The paths in the documented configuration.
    const PLACES: [&str; 2] = ["/var/lib/postgresql/15/main", "/var/lib/pgbackrest"];

    /// pgBackRest with the documented configuration, as the user that owns the data.
    struct PgBackRest {
        config: PathBuf,
        port: u16,
        owner: (u32, u32),
    }

    impl PgBackRest {
        fn new(folder: &Path, data: &str, port: u16) -> Self {
            let owner = fs::metadata(data).map(|data| (data.uid(), data.gid())).unwrap();
            let blocks = GUIDE.split("```ini\n").filter_map(|block| block.split_once("```"));
            let text = blocks.map(|(text, _)| text).find(|text| text.contains("pg1-path")).unwrap();
            assert!(PLACES.iter().all(|place| text.contains(place)), "{text}");
            let repository = folder.join("repository").display().to_string();
            let text = text.replace(PLACES[0], data).replace(PLACES[1], &repository);
            let logs = folder.join("logs").display().to_string();
            let config = folder.join("pgbackrest.conf");
            let text = text
                .replace("[mlsdm]", &format!("[mlsdm]\npg1-port={port}\npg1-user=postgres"))
                .replace("[global]", &format!("[global]\nlog-path={logs}\nlock-path={logs}"));
            fs::write(&config, text).unwrap();
            for made in [&repository, &logs] {
                fs::create_dir(made).unwrap();
            }
            for path in [folder, &config, repository.as_ref(), logs.as_ref()] {
                chown(path, Some(owner.0), Some(owner.1)).unwrap();
            }
            Self { config, port, owner }
        }

        fn line(&self, arguments: &str) -> String {
            format!("pgbackrest --config={} --stanza=mlsdm {arguments}", self.config.display())
        }

        fn run(&self, arguments: &str) {
            let mut command = Command::new("sh");
            command.args(["-c", &self.line(arguments)]).uid(self.owner.0).gid(self.owner.1);
            // the cluster of the test has no socket
            command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
            let output = command.current_dir("/").output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(
                output.status.success(),
                "pgbackrest {arguments} (apt-get install pgbackrest): {text}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restore_to_a_point_in_time_is_a_whole_log() {
        let cluster = postgres::private_cluster();
        let database = TestDatabase::within(&cluster).await;
        let data = database.query_text("SHOW data_directory").await;
        let folder = tempfile::Builder::new().prefix("pgbackrest-").tempdir_in("/tmp").unwrap();
        let backrest = PgBackRest::new(folder.path(), &data, cluster.port());
        let archive = backrest.line("archive-push %p");
        database.execute("ALTER SYSTEM SET archive_mode = on").await.unwrap();
        database.execute(&format!("ALTER SYSTEM SET archive_command = '{archive}'")).await.unwrap();
        cluster.stop();
        cluster.start();
        backrest.run("stanza-create");
        backrest.run("check");

        let env = TestEnv::new(database.url());
        let server = env.serve().await;
        server.say("ann", "before the backup").await;
        backrest.run("--type=full backup");
        // pgBackRest compares whole seconds, and the target must be later than the end of the backup
        let end =
            database.query_text("SELECT ceil(extract(epoch FROM clock_timestamp()))::text").await;
        let later = format!("SELECT (extract(epoch FROM clock_timestamp()) > {end} + 1)::text");
        eventually("the second after the backup", async || {
            let later = database.query_text(&later).await;
            if later == "true" { Ok(()) } else { Err(later) }
        })
        .await;
        server.say("ann", "after the backup").await;
        let wanted = server.state("default").await;
        let time = "SELECT to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS.US+00')";
        let time = database.query_text(time).await;
        server.say("ann", "what has to be undone").await;
        assert!(server.head().await > wanted["position"].as_u64().unwrap());
        server.stop().await;
        database.execute("SELECT pg_switch_wal()").await.unwrap();

        cluster.stop();
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir(&data).unwrap();
        chown(&data, Some(backrest.owner.0), Some(backrest.owner.1)).unwrap();
        fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        backrest.run(&format!("--type=time \"--target={time}\" --target-action=promote restore"));
        cluster.start();
        eventually("the end of the recovery", async || {
            let state = database.query_text("SELECT pg_is_in_recovery()::text").await;
            if state == "false" { Ok(()) } else { Err(state) }
        })
        .await;

        env.run(&["audit", "verify", "--require", "authenticity"]).await.exits(0);
        env.run(&["replay", "--engine", "default", "--verify"]).await.exits(0);
        let server = env.serve().await;
        let restored = server.state("default").await;
        for field in ["position", "chain_hash", "state_digest"] {
            assert_eq!(restored[field], wanted[field], "{field}");
        }
        server.say("ann", "the log goes on").await;
        server.stop().await;
    }
}
