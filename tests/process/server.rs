//! A server process and what can be asked of it.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_mlsdm");

/// 32 bytes in hexadecimal; the same for all processes of a test.
const CONTENT_KEY: &str = "4242424242424242424242424242424242424242424242424242424242424242";

/// Longest wait for anything that has to happen soon.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Lines of a server's log shown when its test fails.
const TAIL: usize = 60;

/// How processes of one test are started: environment and nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    variables: BTreeMap<String, String>,
    /// Run by `sh` in front of the server, which it gets as `"$@"`.
    wrapper: Option<&'static str>,
    /// Speaks TLS, if that is how the server is asked.
    client: Option<reqwest::Client>,
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Its output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Asserts on its exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Setup {
    /// Processes on one database.
    pub(crate) fn new(database_url: &str) -> Self {
        let setup = Self { variables: BTreeMap::new(), wrapper: None, client: None };
        let (mode, none) = mlsdm::testkit::OPEN;
        setup
            .with(mode, none)
            .with("DATABASE_URL", database_url)
            .with("MLSDM_CONTENT_KEY", CONTENT_KEY)
            // tests ask faster than callers may
            .with("DISABLE_RATE_LIMIT", true)
            // several on one machine
            .with("METRICS_PORT", 0)
    }

    /// One more variable.
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    /// A shell line that ends by running `"$@"`.
    pub(crate) const fn wrapped(mut self, line: &'static str) -> Self {
        self.wrapper = Some(line);
        self
    }

    /// Asked under TLS, by this client.
    pub(crate) fn over_tls(mut self, client: reqwest::Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Time the stub model takes.
    pub(crate) fn latency_ms(self, ms: u32) -> Self {
        self.with("MLSDM__LLM__STUB__LATENCY_MS", ms)
    }

    fn command(&self, folder: &std::path::Path) -> Command {
        let mut command = match self.wrapper {
            None => Command::new(BINARY),
            Some(line) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", line, "sh", BINARY]);
                shell
            }
        };
        // nothing of the machine's: neither variables nor a config.yaml in the working directory
        command.env_clear().envs(&self.variables).current_dir(folder).kill_on_drop(true);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command
    }

    /// A server that is ready.
    pub(crate) async fn serve(&self) -> Server {
        let mut server = self.start();
        server.until_ready().await;
        server
    }

    /// A server that may not be ready yet.
    pub(crate) fn start(&self) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let file = File::create(&log).unwrap();
        // between this look and the server's another process might take it; nothing here does
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let scheme = if self.client.is_some() { "https" } else { "http" };
        let mut command = self.command(folder.path());
        command.arg("serve").env("API_PORT", port.to_string());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Server {
            child: command.spawn().unwrap(),
            base: format!("{scheme}://127.0.0.1:{port}"),
            http: self.client.clone().unwrap_or_else(client),
            log,
            setup: self.clone(),
            _folder: folder,
        }
    }

    /// A command that runs in a folder, with its output to be read.
    pub(crate) fn spawn(&self, folder: &std::path::Path, arguments: &[&str]) -> Child {
        let mut command = self.command(folder);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A command run to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let output = self.command(folder.path()).args(arguments).output().await.unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    });
    reqwest::Client::builder().no_proxy().timeout(SOON)
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    /// A header's text; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body of a good answer.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// Asserts that it is a problem of this status and code.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        let found = (self.status, self.body["code"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert_eq!(self.body["request_id"], self.header("x-request-id"), "{self:?}");
        for field in ["type", "title", "detail", "trace_id"] {
            assert!(self.body[field].is_string(), "{field}: {self:?}");
        }
        assert_eq!(status == 503, !self.header("retry-after").is_empty(), "{self:?}");
    }
}

/// Sends a request; an error means that no complete answer came.
pub(crate) async fn send(request: RequestBuilder) -> Result<Reply, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await?;
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
    Ok(Reply { status, headers, body })
}

/// A running `mlsdm serve`; killed when dropped, its log shown if the test fails.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    base: String,
    http: reqwest::Client,
    log: PathBuf,
    setup: Setup,
    _folder: TempDir,
}

impl Server {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("a process that was not waited for")
    }

    /// A new connection to it.
    pub(crate) async fn connect(&self) -> TcpStream {
        let address = self.base.split_once("://").unwrap().1;
        TcpStream::connect(address).await.unwrap()
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.id());
        let status = Command::new("sh").args(["-c", &line]).status().await.unwrap();
        assert!(status.success());
    }

    /// Resolves when it has logged such an event so often.
    pub(crate) async fn until_logged(&self, event: &str, times: usize) {
        let start = Instant::now();
        let wanted = format!("\"event_type\":\"{event}\"");
        while self.log().matches(&wanted).count() < times {
            assert!(start.elapsed() < SOON, "no {event}\n{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Where it serves.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.base))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base))
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// The answer to a GET that must be good.
    pub(crate) async fn read(&self, path: &str) -> Value {
        send(self.get(path)).await.unwrap().ok()
    }

    /// A harmless prompt of somebody's.
    pub(crate) fn ask(&self, engine: &str, end_user: &str, prompt: &str) -> RequestBuilder {
        self.post(&format!("/v1/engines/{engine}/generate"))
            .header("X-MLSDM-End-User", end_user)
            .json(&json!({"prompt": prompt, "moral_value": 0.9}))
    }

    /// Asks the default engine and must be answered.
    pub(crate) async fn say(&self, end_user: &str, prompt: &str) -> Value {
        send(self.ask("default", end_user, prompt)).await.unwrap().ok()
    }

    /// The state of an engine.
    pub(crate) async fn state(&self, engine: &str) -> Value {
        self.read(&format!("/v1/engines/{engine}/state")).await
    }

    /// The position of the last event of the default engine.
    pub(crate) async fn head(&self) -> u64 {
        self.state("default").await["position"].as_u64().unwrap()
    }

    /// A command that speaks to this server.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Run {
        let arguments: Vec<&str> = [arguments, &["--server", &self.base]].concat();
        self.setup.run(&arguments).await
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resolves when it says that it is ready.
    pub(crate) async fn until_ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended before it was ready: {status}\n{}", self.log());
            }
            let reply = send(self.get("/health/ready")).await;
            if reply.is_ok_and(|reply| reply.status == 200) {
                return;
            }
            assert!(start.elapsed() < SOON, "not ready\n{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Resolves when every step has its ending; gives the state then.
    pub(crate) async fn until_closed(&self, engine: &str) -> Value {
        let closed = |state: &Value| state["open_count"] == 0;
        self.until(&format!("/v1/engines/{engine}/state"), closed).await
    }

    /// Looks at a resource until it is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let reply = send(self.get(path)).await.unwrap();
            if reply.status == 200 && wanted(&reply.body) {
                return reply.body;
            }
            assert!(start.elapsed() < SOON, "{path} does not become so: {reply:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills it as a power cut would.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop.
    pub(crate) async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Its end, which must come soon.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(SOON, self.child.wait()).await;
        status.expect("the server ends").unwrap()
    }

    /// Stops it the polite way.
    pub(crate) async fn stop(mut self) {
        self.terminate().await;
        let status = self.exit().await;
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
            // nothing can be done about a closed stderr
            drop(writeln!(std::io::stderr(), "--- log of {}\n{tail}", self.base));
        }
    }
}
