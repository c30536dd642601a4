//! Containers of a test: podman with a storage of its own, images, and names that end with the test.
//!
//! No registry of images is needed: bases are made of Debian packages under the names of the real ones
//! ([`images`]). The storage is in `target/ci/containers`, so it never mixes with that of the machine.

pub(crate) mod images;
mod kernel;
mod podman;
pub(crate) mod stack;
pub(crate) mod standins;

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use mlsdm::testkit::{CommandOutput, TestResponse, eventually, http_client, send};
use serde_json::Value;

pub(crate) use podman::{podman, service, try_podman};

/// The label of everything that tests make; its value is the id of the test process.
const LABEL: &str = "mlsdm.test";
/// Pause between two health checks, which systemd would run for podman.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);

/// The containers, volumes and network of a test. They are removed when it is dropped.
pub(crate) struct Sandbox {
    /// Prefix of all names.
    pub(crate) name: String,
    health: HealthChecks,
}

impl Sandbox {
    /// Makes a network, and removes what an aborted test has left behind.
    pub(crate) fn new() -> Self {
        let process = std::process::id();
        let name = format!("mlsdm-{process}");
        remove_abandoned();
        podman(&["network", "create", "--label", &format!("{LABEL}={process}"), &name]);
        Self { name, health: HealthChecks::start() }
    }

    /// The name of a container, volume or network of this test.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// Makes a volume; its content is removed with the sandbox.
    pub(crate) fn volume(&self, name: &str) -> String {
        let name = self.named(name);
        podman(&["volume", "create", "--label", &label(), &name]);
        name
    }

    /// Starts a container in the network of this test, where `name` is its host name.
    pub(crate) fn run(&self, name: &str, options: &[&str], image: &[&str]) -> Container {
        let (full, label) = (self.named(name), label());
        let mut all = vec!["run", "--detach", "--name", &full, "--label", &label];
        all.extend(["--network", &self.name, "--network-alias", name]);
        all.extend(options);
        all.extend(image);
        podman(&all);
        Container { name: full }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.health.stop();
        let filter = format!("label={}", label());
        for name in podman(&["ps", "--all", "--quiet", "--filter", &filter]).lines() {
            if thread::panicking() {
                let logs = try_podman(&["logs", "--tail", "40", name]);
                report(&format!("--- container {name}\n{}{}", logs.stdout, logs.stderr));
            }
            try_podman(&["rm", "--force", "--volumes", "--time", "0", name]);
        }
        for name in podman(&["volume", "ls", "--quiet", "--filter", &filter]).lines() {
            try_podman(&["volume", "rm", "--force", name]);
        }
        try_podman(&["network", "rm", "--force", &self.name]);
    }
}

/// Shows logs beside the message of a failed test.
fn report(text: &str) {
    // a closed stderr has no reader
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn label() -> String {
    format!("{LABEL}={}", std::process::id())
}

/// Removes the containers, volumes and networks of test processes that no longer run. One of them may have had
/// the id of this process, which has none yet.
fn remove_abandoned() {
    let own = std::process::id().to_string();
    let is_gone = |name: &str| {
        let digits = |c: char| c.is_ascii_digit();
        let process = name.strip_prefix("mlsdm-").map(|rest| rest.split(|c| !digits(c)).next());
        let is_gone = |id: &str| id == own || !std::path::Path::new("/proc").join(id).exists();
        process.flatten().is_some_and(is_gone)
    };
    let gone = |list: &[&str], format: &str| {
        let names = podman(&[list, &["--format", format]].concat());
        names.lines().filter(|name| is_gone(name)).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    for name in gone(&["ps", "--all"], "{{.Names}}") {
        try_podman(&["rm", "--force", "--volumes", "--time", "0", &name]);
    }
    for name in gone(&["volume", "ls"], "{{.Name}}") {
        try_podman(&["volume", "rm", "--force", &name]);
    }
    for name in gone(&["network", "ls"], "{{.Name}}") {
        try_podman(&["network", "rm", "--force", &name]);
    }
}

/// A container. It is removed with its [`Sandbox`].
pub(crate) struct Container {
    /// The full name.
    pub(crate) name: String,
}

impl Container {
    /// Runs a command in the container.
    pub(crate) fn exec(&self, command: &[&str]) -> CommandOutput {
        try_podman(&[&["exec", self.name.as_str()], command].concat())
    }

    /// Standard output and standard error of its main process.
    pub(crate) fn logs(&self) -> String {
        let logs = try_podman(&["logs", &self.name]);
        logs.stdout + &logs.stderr
    }

    /// A value of `podman inspect`, by a Go template.
    pub(crate) fn inspect(&self, template: &str) -> String {
        podman(&["inspect", "--format", template, &self.name]).trim().to_owned()
    }

    /// The address on this host of a published port.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        podman(&["port", &self.name, &port.to_string()]).trim().parse().unwrap()
    }

    /// The URL of a published port.
    pub(crate) fn url(&self, port: u16) -> String {
        format!("http://{}", self.address(port))
    }

    /// Waits until the server in it is ready.
    pub(crate) async fn until_ready(&self) {
        let url = format!("{}/health/ready", self.url(8000));
        eventually("readiness", async || {
            let state = self.inspect("{{.State.Status}} {{.State.ExitCode}}");
            assert!(state.starts_with("running"), "{state}\n{}", self.logs());
            match get(&url).await {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(format!("{response:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Waits until its health check has this result.
    pub(crate) async fn until_health(&self, wanted: &str) {
        eventually("the result of the health check", async || {
            let health = self.inspect("{{.State.Health.Status}}");
            if health == wanted { Ok(()) } else { Err(health) }
        })
        .await;
    }

    /// Waits until it exits; gives the exit code.
    pub(crate) async fn exit_code(&self) -> i32 {
        let state = eventually("the exit of the container", async || {
            let state = self.inspect("{{.State.Status}} {{.State.ExitCode}}");
            if state.starts_with("exited") { Ok(state) } else { Err(state) }
        });
        state.await.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Sends a GET.
pub(crate) async fn get(url: &str) -> Result<TestResponse, reqwest::Error> {
    send(http_client().get(url)).await
}

/// Sends a step with an API key.
pub(crate) async fn generate(url: &str, key: &str, prompt: &str) -> TestResponse {
    try_generate(url, key, prompt).await.unwrap()
}

/// Sends a step; an error means that no complete response arrived.
pub(crate) async fn try_generate(
    url: &str,
    key: &str,
    prompt: &str,
) -> Result<TestResponse, reqwest::Error> {
    let body: Value = serde_json::json!({"prompt": prompt, "moral_value": 0.8});
    send(http_client().post(format!("{url}/generate")).header("X-API-Key", key).json(&body)).await
}

/// Runs the health checks of all containers with one, which podman leaves to systemd.
pub(crate) struct HealthChecks {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HealthChecks {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                check_health();
                thread::park_timeout(HEALTH_INTERVAL);
            }
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

fn check_health() {
    let format = "{{.ID}} {{if .Config.Healthcheck}}yes{{end}}";
    for id in try_podman(&["ps", "--quiet"]).stdout.lines() {
        // a container may end at any time
        let line = try_podman(&["inspect", "--format", format, id]).stdout;
        if line.trim().ends_with("yes") {
            try_podman(&["healthcheck", "run", id]);
        }
    }
}
