//! Every Deployment and Job of the manifests runs as a pod of podman, with its own `ConfigMap`, Secret, security
//! context and limits. The test asks the probes from outside, because podman runs them with a shell, which
//! the image does not have.

mod heavy;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    thread::{self, JoinHandle},
};

use mlsdm::testkit::{TestResponse, eventually, free_port, http_client, send};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    containers::{images, podman},
    kubernetes::{Set, list},
    path,
    resolver::environment::secret,
};

/// The pod of a workload. It is removed when dropped.
pub(crate) struct Pod {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Option<JoinHandle<String>>,
    api: u16,
    work: TempDir,
}

impl Pod {
    /// Plays a workload of a set; `database` is the URL in its Secret.
    pub(crate) fn play(set: &Set, workload: &Value, database: &str) -> Self {
        let work = TempDir::new_in(path("target/ci/deploy")).unwrap();
        fs::write(work.path().join("play.yaml"), documents(set, workload, database)).unwrap();
        let archive = work.path().join("image.tar");
        let save = ["save", "--quiet", "--output", archive.to_str().unwrap(), images::server()];
        podman(&save);
        let api = free_port();
        let mut command = Command::new(path("tests/deploy/pods/play.sh"));
        command.arg(root()).arg(work.path()).arg(workload["kind"].as_str().unwrap());
        if workload["kind"] == "Deployment" {
            command.arg("--publish").arg(format!("127.0.0.1:{api}:8000"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let output = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            text
        });
        let stdin = child.stdin.take();
        let mut pod = Self { child, stdin, output: Some(output), api, work };
        let mut line = String::new();
        let mut stdout = BufReader::new(pod.child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "playing\n", "{}", pod.end());
        pod
    }

    /// Waits until a path of its API answers with 200.
    pub(crate) async fn until_ok(&self, path: &str) -> TestResponse {
        eventually(path, async || {
            let url = format!("http://127.0.0.1:{}{path}", self.api);
            let reply = send(http_client().get(url)).await.map_err(|error| error.to_string())?;
            if reply.status == 200 { Ok(reply) } else { Err(format!("{reply:?}")) }
        })
        .await
    }

    /// What `podman inspect` says about its container.
    pub(crate) fn container(&self) -> Value {
        let text = fs::read_to_string(self.work.path().join("containers.json")).unwrap();
        let all: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(all.len(), 1, "one container");
        all[0].clone()
    }

    /// Removes the pod; gives its log.
    pub(crate) fn end(&mut self) -> String {
        drop(self.stdin.take());
        self.child.wait().unwrap();
        self.output.take().map(|output| output.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let log = self.end();
        if thread::panicking() {
            drop(writeln!(std::io::stderr(), "--- the pod\n{log}"));
        }
    }
}

/// The root file system with podman 5, made by the first test.
fn root() -> PathBuf {
    path("target/ci/deploy/podman5")
}

/// The workload with what it refers to. JSON is YAML.
fn documents(set: &Set, workload: &Value, database: &str) -> String {
    let mut workload = workload.clone();
    for container in workload["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap() {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            container.as_object_mut().unwrap().remove(probe);
        }
    }
    if workload["kind"] == "Deployment" {
        workload["spec"]["replicas"] = json!(1);
    }
    let keys = ["content-key", "api-key", "admin-api-key", "openai-api-key"];
    let mut data: Value = keys.iter().map(|key| ((*key).to_owned(), json!(secret(key)))).collect();
    for key in ["database-url", "database-owner-url"] {
        data[key] = json!(database);
    }
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mlsdm-secrets"},
        "stringData": data,
    });
    let kinds = ["ConfigMap", "PersistentVolumeClaim"];
    let others =
        set.objects.iter().filter(|object| kinds.iter().any(|kind| object["kind"] == *kind));
    let all: Vec<String> =
        others.chain([&secret, &workload]).map(|object| format!("{object}\n")).collect();
    all.join("---\n")
}

/// Accepts connections of pods and passes them to a port of this machine; gives the port.
#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
pub(crate) async fn forward(port: u16) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // an error is the end of the connection
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    own
}

/// The memory and CPU limits of a workload's container: bytes, and thousandths of a CPU.
pub(crate) fn limits(workload: &Value) -> (u64, u64) {
    let container = &list(&workload["spec"]["template"]["spec"]["containers"])[0];
    let limit = |name: &str| container["resources"]["limits"][name].as_str().unwrap();
    let memory = limit("memory");
    let (number, unit) = memory.split_at(memory.len() - 2);
    let shift = if unit == "Gi" { 30 } else { 20 };
    let cpu = limit("cpu").strip_suffix('m').unwrap();
    (number.parse::<u64>().unwrap() << shift, cpu.parse().unwrap())
}
