//! The real binary as a server process, with a client for it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a panic is the report"
)]

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::ExitStatus,
};

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use super::{
    CommandOutput, DEADLINE, TestEnv, TestResponse, eventually, http_client, postgres::free_port,
    send,
};

/// Number of log lines shown when a test fails.
const TAIL: usize = 60;

/// A running `mlsdm serve`. It is killed when dropped; if the test failed, the end of its log is
/// printed.
#[derive(Debug)]
pub struct TestServer {
    child: Child,
    base: String,
    http: reqwest::Client,
    log: PathBuf,
    env: TestEnv,
    _folder: TempDir,
}

impl TestEnv {
    /// Starts a server and waits until it is ready.
    pub async fn serve(&self) -> TestServer {
        let mut server = self.start();
        server.until_ready().await;
        server
    }

    /// Starts a server without waiting until it is ready.
    pub fn start(&self) -> TestServer {
        self.start_at(free_port())
    }

    /// Starts a server on this port without waiting until it is ready.
    pub fn start_at(&self, port: u16) -> TestServer {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let file = File::create(&log).unwrap();
        let scheme = if self.tls_client.is_some() { "https" } else { "http" };
        let mut command = Command::from(self.command(folder.path()));
        command.arg("serve").env("API_PORT", port.to_string()).kill_on_drop(true);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        TestServer {
            child: command.spawn().unwrap(),
            base: format!("{scheme}://127.0.0.1:{port}"),
            http: self.tls_client.clone().unwrap_or_else(http_client),
            log,
            env: self.clone(),
            _folder: folder,
        }
    }
}

impl TestServer {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("a process that has not been waited for")
    }

    /// The URL of its API, without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Its log so far: standard output and standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A command in the environment of this server, with `--server` added.
    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        let arguments: Vec<&str> = [arguments, &["--server", &self.base]].concat();
        self.env.run(&arguments).await
    }

    /// Opens a TCP connection to it.
    pub async fn connect(&self) -> TcpStream {
        let address = self.base.split_once("://").unwrap().1;
        TcpStream::connect(address).await.unwrap()
    }
}

/// Requests.
impl TestServer {
    /// A GET request.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.base))
    }

    /// A POST request.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base))
    }

    /// A request with any method.
    pub fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// The body of a GET request that has to succeed.
    pub async fn read(&self, path: &str) -> Value {
        send(self.get(path)).await.unwrap().ok()
    }

    /// A prompt of an end user that passes the moral filter.
    pub fn ask(&self, engine: &str, end_user: &str, prompt: &str) -> RequestBuilder {
        self.post(&format!("/v1/engines/{engine}/generate"))
            .header("X-MLSDM-End-User", end_user)
            .json(&json!({"prompt": prompt, "moral_value": 0.9}))
    }

    /// Sends a prompt to the default engine, which has to answer; gives the answer.
    pub async fn say(&self, end_user: &str, prompt: &str) -> Value {
        send(self.ask("default", end_user, prompt)).await.unwrap().ok()
    }

    /// The state of an engine.
    pub async fn state(&self, engine: &str) -> Value {
        self.read(&format!("/v1/engines/{engine}/state")).await
    }

    /// The position of the last event of the default engine.
    pub async fn head(&self) -> u64 {
        self.state("default").await["position"].as_u64().unwrap()
    }
}

/// Waiting.
impl TestServer {
    /// Waits until it is ready; panics if it exits first.
    pub async fn until_ready(&mut self) {
        let (request, log) = (self.get("/health/ready"), self.log.clone());
        let log = || fs::read_to_string(&log).unwrap_or_default();
        let child = &mut self.child;
        eventually("readiness", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server exited before it was ready: {status}\n{}", log());
            }
            let response = send(request.try_clone().unwrap()).await;
            let ready = response.is_ok_and(|response| response.status == 200);
            ready.then_some(()).ok_or_else(log)
        })
        .await;
    }

    /// Waits until it has logged at least `times` events of this type.
    pub async fn until_logged(&self, event_type: &str, times: usize) {
        let field = format!("\"event_type\":\"{event_type}\"");
        self.until_log_has(&field, times).await;
    }

    /// Waits until a text is in the log that often.
    pub async fn until_log_has(&self, text: &str, times: usize) {
        eventually(&format!("{text} in the log ({times} times)"), async || {
            let log = self.log();
            if log.matches(text).count() >= times { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// Waits until an engine has no open step; gives its state.
    pub async fn until_closed(&self, engine: &str) -> Value {
        let closed = |state: &Value| state["open_count"] == 0;
        self.until(&format!("/v1/engines/{engine}/state"), closed).await
    }

    /// Reads a resource until its body is as wanted; gives that body.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the wanted state of {path}"), async || {
            // the server may close an idle connection at the moment of its reuse
            let response: TestResponse =
                send(self.get(path)).await.map_err(|error| error.to_string())?;
            let good = response.status == 200 && wanted(&response.body);
            if good { Ok(response.body) } else { Err(format!("{response:?}")) }
        })
        .await
    }
}

/// Signals and exit.
impl TestServer {
    /// Sends a signal, named as for `kill`.
    pub async fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.id());
        let status = Command::new("sh").args(["-c", &line]).status().await.unwrap();
        assert!(status.success());
    }

    /// Kills the process, as `kill -9` does.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Waits until the process exits.
    pub async fn exit(&mut self) -> ExitStatus {
        let status = timeout(DEADLINE, self.child.wait()).await;
        status.unwrap_or_else(|_| panic!("the server does not exit\n{}", self.log())).unwrap()
    }

    /// Sends SIGTERM and waits for a clean exit.
    pub async fn stop(mut self) {
        self.terminate().await;
        let status = self.exit().await;
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
            // a closed stderr has no reader
            drop(writeln!(std::io::stderr(), "--- log of {}\n{tail}", self.base));
        }
    }
}
