//! A Prometheus from the Debian package that scrapes every second.

use std::{
    fs::{self, File},
    io::ErrorKind,
    process::Stdio,
};

use mlsdm::testkit::{eventually, free_port, http_client, send};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// It is killed when dropped.
pub(super) struct Prometheus {
    base: String,
    folder: TempDir,
    _child: Child,
}

impl Prometheus {
    /// Scrapes these addresses as the job `mlsdm`.
    pub(super) async fn start(targets: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        // JSON is YAML
        let text = json!({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "mlsdm", "static_configs": [{"targets": targets}]}],
        });
        fs::write(&config, text.to_string()).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.kill_on_drop(true).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            assert_eq!(error.kind(), ErrorKind::NotFound, "prometheus: {error}");
            panic!("prometheus is missing: apt-get install prometheus")
        });
        let prometheus = Self { base: format!("http://127.0.0.1:{port}"), folder, _child: child };
        prometheus.until("count(up)", |up| up as usize == targets.len()).await;
        prometheus
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The number that a query gives.
    pub(super) async fn number(&self, expression: &str) -> Option<f64> {
        let request = http_client().get(format!("{}/api/v1/query", self.base));
        let reply = send(request.query(&[("query", expression)])).await.ok()?;
        reply.body["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Waits until a query gives a wanted number.
    pub(super) async fn until(&self, expression: &str, wanted: impl Fn(f64) -> bool) {
        eventually(expression, async || {
            let found = self.number(expression).await;
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if found.is_some_and(&wanted) { Ok(()) } else { Err(format!("{found:?}\n{}", log())) }
        })
        .await;
    }
}
