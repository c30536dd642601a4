//! Prometheus and Alertmanager from Debian packages, on loopback ports, for one test.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use mlsdm::testkit::{TestResponse, eventually, free_port, http_client, send};

/// The root of the repository.
pub(super) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files in a folder of the repository with this extension; none if the folder does not exist.
pub(super) fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// The shipped rules.
pub(super) fn rules() -> Vec<PathBuf> {
    files("deploy/monitoring/prometheus/rules", "yaml")
}

/// Runs a program, which has to exit with code 0; gives its output.
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; {}", advice(program)));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}\n{text}");
    text
}

fn advice(program: &str) -> String {
    let package = match program {
        "prometheus" | "promtool" => "prometheus",
        _ => "prometheus-alertmanager",
    };
    format!("install Debian's package: apt-get install {package}")
}

/// An HTTP server process. It is killed when dropped; if the test failed, its output is printed.
#[derive(Debug)]
struct Program {
    child: Child,
    base: String,
    folder: TempDir,
}

impl Program {
    fn start(program: &str, folder: TempDir, arguments: &[String]) -> Self {
        let port = free_port();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.current_dir(folder.path()).kill_on_drop(true).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{program}: {error}");
            panic!("{program} is not here; {}", advice(program))
        });
        Self { child, base: format!("http://127.0.0.1:{port}"), folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn until_ready(&mut self) {
        let client = http_client();
        eventually("readiness", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the program exited before it was ready: {status}\n{}", self.log());
            }
            let reply = send(client.get(format!("{}/-/ready", self.base))).await;
            let ready = reply.is_ok_and(|reply| reply.status == 200);
            if ready { Ok(()) } else { Err(self.log()) }
        })
        .await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // a closed stderr has no reader
            drop(writeln!(std::io::stderr(), "--- log of {}\n{}", self.base, self.log()));
        }
    }
}

/// The configuration of a Prometheus.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The addresses to scrape as the job `mlsdm`.
    pub(super) targets: Vec<String>,
    /// The rule files.
    pub(super) rules: Vec<PathBuf>,
    /// The address of the Alertmanager.
    pub(super) alertmanager: Option<String>,
    /// Past samples to import, as `OpenMetrics` text.
    pub(super) history: Option<String>,
}

/// A Prometheus that scrapes and evaluates rules every second.
#[derive(Debug)]
pub(super) struct Prometheus(Program);

impl Prometheus {
    pub(super) async fn start(plan: &Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        if let Some(history) = &plan.history {
            let file = folder.path().join("history");
            fs::write(&file, history).unwrap();
            let (file, data) = (file.to_str().unwrap(), data.to_str().unwrap());
            run("promtool", &["tsdb", "create-blocks-from", "openmetrics", file, data]);
        }
        let config = folder.path().join("prometheus.yml");
        fs::write(&config, plan.config()).unwrap();
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", data.display()),
            "--storage.tsdb.retention.time=40d".to_owned(),
            "--enable-feature=exemplar-storage".to_owned(),
            "--log.level=warn".to_owned(),
        ];
        let mut program = Program::start("prometheus", folder, &arguments);
        program.until_ready().await;
        Self(program)
    }

    async fn api(&self, path: &str, query: &[(&str, &str)]) -> TestResponse {
        let request = http_client().get(format!("{}/api/v1/{path}", self.0.base)).query(query);
        send(request).await.unwrap()
    }

    /// The data of an API response.
    pub(super) async fn data(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let mut body = self.api(path, query).await.ok();
        assert_eq!(body["status"], "success", "{path} {query:?}: {body}");
        body["data"].take()
    }

    /// The series of an instant query.
    ///
    /// # Errors
    /// The error message of Prometheus for an invalid query.
    pub(super) async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let reply = self.api("query", &[("query", expression)]).await;
        if reply.status != 200 {
            return Err(reply.body["error"].to_string());
        }
        let data = &reply.body["data"];
        match data["resultType"].as_str() {
            Some("scalar" | "string") => Ok(vec![data.clone()]),
            _ => Ok(data["result"].as_array().unwrap().clone()),
        }
    }

    /// The number that a query gives, which must not have several series.
    pub(super) async fn number(&self, expression: &str) -> Option<f64> {
        let found = self.query(expression).await.unwrap();
        assert!(found.len() < 2, "{expression}: {found:?}");
        found.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Repeats a query until its number is as wanted; gives the number.
    pub(super) async fn until(&self, expression: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        eventually(&format!("the wanted value of {expression}"), async || {
            let found = self.number(expression).await;
            found
                .filter(|number| wanted(*number))
                .ok_or_else(|| format!("it is {found:?}\n{}", self.0.log()))
        })
        .await
    }

    /// Waits until it has scraped all its targets this many times more.
    pub(super) async fn scrapes(&self, times: u32) {
        let seen = "min(count_over_time(up{job=\"mlsdm\"}[1h]))";
        let before = self.until(seen, |_| true).await;
        self.until(seen, |now| now >= before + f64::from(times)).await;
    }
}

/// An Alertmanager with the shipped configuration that notifies this receiver without delay.
#[derive(Debug)]
pub(super) struct Alertmanager(Program);

impl Alertmanager {
    pub(super) async fn start(receiver: &str) -> Self {
        let shipped = repository().join("deploy/monitoring/alertmanager/alertmanager.yml");
        let mut config = fs::read_to_string(shipped).unwrap();
        for (shipped, here) in [
            ("http://127.0.0.1:9095", receiver),
            ("group_wait: 30s", "group_wait: 0s"),
            ("group_interval: 5m", "group_interval: 1s"),
        ] {
            assert!(config.contains(shipped), "{shipped}");
            config = config.replace(shipped, here);
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alertmanager.yml");
        fs::write(&file, config).unwrap();
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.path={}", folder.path().join("data").display()),
            // without a cluster
            "--cluster.listen-address=".to_owned(),
        ];
        let mut program = Program::start("prometheus-alertmanager", folder, &arguments);
        program.until_ready().await;
        Self(program)
    }

    /// The host and the port.
    pub(super) fn address(&self) -> String {
        self.0.base.trim_start_matches("http://").to_owned()
    }
}

impl Plan {
    fn config(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(|path| path.display().to_string()).collect();
        let alerting = self.alertmanager.as_ref().map(|address| {
            serde_json::json!({"alertmanagers": [{"static_configs": [{"targets": [address]}]}]})
        });
        // JSON is YAML
        serde_json::json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "alerting": alerting.unwrap_or_else(|| serde_json::json!({})),
            "scrape_configs": [
                {"job_name": "mlsdm", "static_configs": [{"targets": self.targets}]}
            ],
        })
        .to_string()
    }
}
