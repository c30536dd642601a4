//! A server in its own process, so that its memory and its startup can be measured.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};

use crate::domain::ids::EngineId;

/// Timeout of the startup.
const READY_MAX: Duration = Duration::from_mins(2);

/// Starts servers over the scratch database.
pub(super) struct Launcher {
    binary: PathBuf,
    pub(super) database: String,
    pub(super) content_key: &'static str,
}

/// A running server.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    /// Time from its start until it was ready.
    pub(super) started_in: Duration,
}

impl Launcher {
    /// `binary` defaults to `mlsdm` in the directory of this program.
    pub(super) fn new(
        binary: Option<PathBuf>,
        database: String,
        content_key: &'static str,
    ) -> anyhow::Result<Self> {
        let binary = match binary {
            Some(binary) => binary,
            None => std::env::current_exe()?.with_file_name("mlsdm"),
        };
        Ok(Self { binary, database, content_key })
    }

    /// The same launcher with another database: the URL with `suffix` appended.
    pub(super) fn with_database_suffix(&self, suffix: &str) -> Self {
        let database = format!("{}{suffix}", self.database);
        Self { binary: self.binary.clone(), database, content_key: self.content_key }
    }

    pub(super) async fn start(&self) -> anyhow::Result<Server> {
        self.start_with(&[]).await
    }

    /// Starts a server with additional environment variables.
    pub(super) async fn start_with(&self, more: &[(&str, &str)]) -> anyhow::Result<Server> {
        ensure!(
            self.binary.exists(),
            "{} does not exist; build it (cargo build --release --features tools builds both \
             programs), or name a server with --binary",
            self.binary.display()
        );
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = Instant::now();
        let child = Command::new(&self.binary)
            .arg("serve")
            .envs([
                ("DATABASE_URL", self.database.as_str()),
                ("MLSDM_CONTENT_KEY", self.content_key),
                ("API_PORT", &port.to_string()),
                ("METRICS_PORT", "0"),
                ("LOG_LEVEL", "ERROR"),
                ("MLSDM__AUTH__MODE", "none"),
                ("DISABLE_RATE_LIMIT", "true"),
                ("MLSDM__ENGINE__DEFAULT", EngineId::DEFAULT),
            ])
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the server")?;
        let mut server = Server { child, address, started_in: Duration::ZERO };
        while !server.is_ready().await {
            if started.elapsed() > READY_MAX || server.child.try_wait()?.is_some() {
                bail!("the server did not become ready; run `mlsdm serve` with this database");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.started_in = started.elapsed();
        Ok(server)
    }
}

impl Server {
    async fn is_ready(&self) -> bool {
        let url = format!("http://{}/health/ready", self.address);
        let Ok(client) = reqwest::Client::builder().no_proxy().build() else { return false };
        client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Resident memory in MiB.
    pub(super) fn resident_mib(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("the server has ended")?;
        let path = format!("/proc/{id}/status");
        let status = std::fs::read_to_string(Path::new(&path))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 =
            line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// Processor time in seconds.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("the server has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // the process name in front may contain spaces
        let fields = stat.rsplit_once(") ").context("no stat")?.1.split(' ');
        // utime and stime of proc(5), in hundredths
        let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    /// Kills the process.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
