//! Another process of this program that serves, so that its memory and its starts can be measured.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use crate::domain::ids::EngineId;

/// How long a server may take to become ready.
const READY_MAX: Duration = Duration::from_mins(2);

/// A running server.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    /// From its start until it was ready.
    pub(super) started_in: Duration,
}

impl Server {
    /// Starts one over a database.
    pub(super) async fn start(database: &str, content_key: &str) -> anyhow::Result<Self> {
        Self::start_with(database, content_key, &[]).await
    }

    /// The same, with more variables.
    pub(super) async fn start_with(
        database: &str,
        content_key: &str,
        more: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = Instant::now();
        let child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .envs([
                ("DATABASE_URL", database),
                ("MLSDM_CONTENT_KEY", content_key),
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
            .context("the server cannot be started")?;
        let mut server = Self { child, address, started_in: Duration::ZERO };
        while !server.is_ready().await {
            if started.elapsed() > READY_MAX || server.child.try_wait()?.is_some() {
                bail!("the server did not become ready; try `mlsdm serve` with this database");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.started_in = started.elapsed();
        Ok(server)
    }

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

    /// Processor time it has used, in seconds.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("the server has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // the name before it may have spaces
        let fields = stat.rsplit_once(") ").context("no stat")?.1.split(' ');
        // utime and stime of proc(5), in hundredths
        let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    /// Ends it as an operator would not: at once.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
