//! Replicas behind the shipped nginx configuration and PgBouncer: a rolling restart under load, and a
//! simultaneous start on an empty database.

use mlsdm::testkit::{TestDatabase, TestEnv};

/// One replica migrates and the others wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_migrate_an_empty_database_once() {
    let database = TestDatabase::postgres().await;
    let env = TestEnv::new(database.url());
    let mut replicas = [env.start(), env.start(), env.start()];
    for replica in &mut replicas {
        replica.until_ready().await;
    }
    for table in ["_sqlx_migrations", "mlsdm_migrations"] {
        let applied = format!("SELECT (count(*) = count(DISTINCT version))::text FROM {table}");
        assert_eq!(database.query_text(&applied).await, "true", "{table}");
    }
    let created = "SELECT count(*)::text FROM events WHERE type = 'engine.created' \
                   AND engine_id = 'default'";
    assert_eq!(database.query_text(created).await, "1");
    for replica in replicas {
        replica.say("ann", "a prompt").await;
        replica.stop().await;
    }
    env.run(&["audit", "verify"]).await.exits(0);
}

mod heavy {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::{Path, PathBuf},
        process::{Child, Command},
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
    };

    use mlsdm::testkit::{Backend, TestDatabase, TestEnv, TestServer, eventually, free_port, send};
    use serde_json::json;
    use tokio::task::JoinSet;

    const CONF: &str = include_str!("../../deploy/nginx/nginx.conf");
    const ENGINES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];
    const CLIENTS: usize = 12;
    /// Answers between two restarts.
    const BETWEEN: u64 = 60;
    /// The load balancer has this time to take a stopping replica out.
    const DRAIN_SECONDS: u64 = 3;

    /// nginx with the shipped configuration before these ports.
    struct Nginx {
        process: Child,
        folder: PathBuf,
        port: u16,
        replicas: [u16; 3],
        _folder: tempfile::TempDir,
    }

    impl Nginx {
        async fn start(replicas: [u16; 3]) -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let folder = temporary.path().to_owned();
            // its workers have another user
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
            let port = free_port();
            write(&folder, port, replicas, None);
            let process = nginx(&folder).args(["-g", "daemon off;"]).spawn();
            let process = process.unwrap_or_else(|error| panic!("install nginx-light: {error}"));
            let nginx = Self { process, folder, port, replicas, _folder: temporary };
            eventually("nginx", async || {
                let answer =
                    send(mlsdm::testkit::http_client().get(nginx.url("/health/live"))).await;
                answer.map_err(|error| error.to_string())
            })
            .await;
            nginx
        }

        fn url(&self, path: &str) -> String {
            format!("http://127.0.0.1:{}{path}", self.port)
        }

        /// Takes a replica out, or none.
        fn take_out(&self, replica: Option<u16>) {
            write(&self.folder, self.port, self.replicas, replica);
            assert!(nginx(&self.folder).args(["-s", "reload"]).status().unwrap().success());
        }
    }

    impl Drop for Nginx {
        fn drop(&mut self) {
            nginx(&self.folder).args(["-s", "stop"]).status().ok();
            self.process.wait().ok();
        }
    }

    fn nginx(folder: &Path) -> Command {
        let mut command = Command::new("nginx");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
        command
    }

    fn write(folder: &Path, port: u16, replicas: [u16; 3], out: Option<u16>) {
        const SERVER: &str = "server neuro-engine:8000 max_fails=1 fail_timeout=5s;";
        let servers = replicas.map(|replica| {
            let down = if out == Some(replica) { " down" } else { "" };
            SERVER
                .replace("neuro-engine:8000", &format!("127.0.0.1:{replica}"))
                .replace(';', &format!("{down};"))
        });
        let changes = [
            (SERVER, servers.join("\n")),
            ("listen 8080;", format!("listen 127.0.0.1:{port};")),
            ("/tmp/", format!("{}/", folder.display())),
            ("/dev/stderr", format!("{}/error.log", folder.display())),
        ];
        let text = changes.iter().fold(CONF.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from} in nginx.conf");
            text.replace(from, to)
        });
        fs::write(folder.join("nginx.conf"), text).unwrap();
    }

    /// Clients that ask until they are stopped.
    struct Clients {
        running: JoinSet<u64>,
        answered: Arc<AtomicU64>,
        stop: Arc<AtomicBool>,
    }

    impl Clients {
        fn start(nginx: &Nginx) -> Self {
            let (answered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
            let mut running = JoinSet::new();
            for client in 0..CLIENTS {
                let base = nginx.url("/v1/engines");
                let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
                running.spawn(async move {
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let engine = ENGINES[(client + sent as usize) % ENGINES.len()];
                        ask(&format!("{base}/{engine}"), client, sent).await;
                        sent += 1;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    sent
                });
            }
            Self { running, answered, stop }
        }

        async fn until_answered(&self, more: u64) {
            let wanted = self.answered.load(Ordering::Relaxed) + more;
            eventually("answers", async || {
                let answered = self.answered.load(Ordering::Relaxed);
                if answered >= wanted { Ok(()) } else { Err(answered) }
            })
            .await;
        }

        /// The number of requests, all of which were answered.
        async fn finish(self) -> u64 {
            self.stop.store(true, Ordering::Relaxed);
            self.running.join_all().await.into_iter().sum()
        }
    }

    /// A call or a stream, which has to be complete.
    async fn ask(engine: &str, client: usize, number: u64) {
        // a connection for each request: nginx closes idle ones when it reloads
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let prompt = format!("client {client} asks for the number {number} in a long sentence");
        let is_stream = number % 2 == 1;
        let request = if is_stream {
            let message = json!([{"role": "user", "content": prompt}]);
            let body = json!({"model": "local-stub", "stream": true, "messages": message});
            http.post(format!("{engine}/chat/completions")).json(&body)
        } else {
            http.post(format!("{engine}/generate"))
                .json(&json!({"prompt": prompt, "moral_value": 0.9}))
        };
        let request = request.header("X-MLSDM-End-User", format!("user-{client}"));
        let response = request.send().await.unwrap_or_else(|error| panic!("{engine}: {error}"));
        let status = response.status();
        let text = response.text().await.unwrap_or_else(|error| panic!("{engine}: cut: {error}"));
        assert_eq!(status, 200, "{engine}: {text}");
        if is_stream {
            assert!(text.trim_end().ends_with("data: [DONE]"), "{engine}: {text}");
            assert!(!text.contains("\"error\""), "{engine}: {text}");
        }
    }

    async fn replace(nginx: &Nginx, env: &TestEnv, replica: &mut TestServer, port: u16) {
        replica.terminate().await;
        eventually("that it is not ready", async || {
            let status = send(replica.get("/health/ready")).await.unwrap().status;
            if status == 503 { Ok(()) } else { Err(status) }
        })
        .await;
        nginx.take_out(Some(port));
        assert_eq!(replica.exit().await.code(), Some(0), "{}", replica.log());
        *replica = env.start_at(port);
        replica.until_ready().await;
        nginx.take_out(None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rolling_restart_under_load_loses_nothing() {
        let database = TestDatabase::on(Backend::PgBouncer).await;
        let direct = TestEnv::new(database.direct_url());
        direct.run(&["upgrade", "tables"]).await.exits(0);
        let env = TestEnv::new(database.url())
            .with("MLSDM__DATABASE__POOLER", true)
            .with("MLSDM__API__DRAIN_SECONDS", DRAIN_SECONDS)
            .with("MLSDM__LLM__STUB__WORD_LATENCY_MS", 40)
            .latency_ms(30);
        let ports = [free_port(), free_port(), free_port()];
        let mut replicas = ports.map(|port| env.start_at(port));
        for replica in &mut replicas {
            replica.until_ready().await;
        }
        for engine in ENGINES {
            replicas[0].run(&["engine", "create", engine]).await.exits(0);
        }
        let nginx = Nginx::start(ports).await;
        let clients = Clients::start(&nginx);
        for (replica, port) in replicas.iter_mut().zip(ports) {
            clients.until_answered(BETWEEN).await;
            replace(&nginx, &env, replica, port).await;
        }
        clients.until_answered(BETWEEN).await;
        let sent = clients.finish().await;

        for (what, types, wanted) in [
            ("steps", "'step.admitted', 'step.rejected'", sent),
            ("endings", "'step.completed', 'step.rejected'", sent),
            ("failures", "'step.failed'", 0),
        ] {
            let count = format!("SELECT count(*)::text FROM events WHERE type IN ({types})");
            assert_eq!(database.query_text(&count).await, wanted.to_string(), "{what}");
        }
        for replica in replicas {
            replica.stop().await;
        }
        direct.run(&["audit", "verify", "--require", "authenticity"]).await.exits(0);
        direct.run(&["replay", "--verify"]).await.exits(0);
    }
}
