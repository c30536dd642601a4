//! The shipped compose files, run by Docker Compose over the API of podman.

use std::{fs, process::Command, thread};

use mlsdm::testkit::{CommandOutput, free_port};
use tempfile::TempDir;

use super::{Container, HealthChecks, podman, remove_abandoned, service, standins, try_podman};
use crate::{containers::images, path};

/// The API of podman 4 is too old for `start_interval`, which Compose then refuses. Everything else is
/// as shipped.
const OLDER_API: &str = "\
services:
  neuro-engine: { healthcheck: { start_interval: !reset null } }
  replica: { healthcheck: { start_interval: !reset null } }
  postgres: { healthcheck: { start_interval: !reset null } }
";

/// Variables of the published ports.
const PORTS: [&str; 5] =
    ["API_PORT", "METRICS_PORT", "NGINX_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT"];

/// A copy of the deployment in a folder of its own. Its containers are removed when it is dropped.
pub(crate) struct Stack {
    /// The folder with `deploy`, `docker` and `dashboards`.
    pub(crate) folder: TempDir,
    project: String,
    ports: Vec<(&'static str, u16)>,
    service: super::podman::Service,
    health: HealthChecks,
}

impl Stack {
    /// A copy without secrets and containers.
    pub(crate) fn new() -> Self {
        remove_abandoned();
        images::server();
        standins::postgres();
        let folder = tempfile::tempdir().unwrap();
        for name in ["deploy", "docker", "dashboards"] {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(path(name)).arg(folder.path().join(name));
            assert!(copy.status().unwrap().success());
        }
        drop(fs::remove_dir_all(folder.path().join("deploy/secrets")));
        drop(fs::remove_file(folder.path().join("deploy/mlsdm.env")));
        fs::write(folder.path().join("older-api.yaml"), OLDER_API).unwrap();
        let ports = PORTS.map(|name| (name, free_port())).into();
        let project = format!("mlsdm-{}", std::process::id());
        Self { folder, project, ports, service: service(), health: HealthChecks::start() }
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Reads a file that the deployment has made.
    pub(crate) fn read(&self, name: &str) -> String {
        let file = self.folder.path().join(name);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Runs `secrets.sh`.
    pub(crate) fn secrets(&self) -> String {
        let script = self.folder.path().join("deploy/secrets.sh");
        let output: CommandOutput = Command::new(script).output().unwrap().into();
        output.exits(0).stdout
    }

    /// Runs Docker Compose in the folder.
    pub(crate) fn compose(&self, arguments: &[&str]) -> CommandOutput {
        let program = path("target/ci/compose/docker-compose");
        let mut command = Command::new(&program);
        command.args(["--project-name", &self.project]);
        command.args(["--file", "docker/docker-compose.yaml", "--file", "older-api.yaml"]);
        command.args(arguments).current_dir(self.folder.path());
        command.env("DOCKER_HOST", &self.service.host).env("DOCKER_CONFIG", self.folder.path());
        for (name, port) in &self.ports {
            command.env(name, port.to_string());
        }
        let output = command.output();
        output
            .unwrap_or_else(|error| panic!("{}: {error}; .ci/test fetches it", program.display()))
            .into()
    }

    /// Starts services, or all without a profile, and waits until they are healthy.
    pub(crate) fn up(&self, arguments: &[&str]) {
        let all = [&["up", "--detach", "--wait", "--wait-timeout", "120"], arguments].concat();
        let output = self.compose(&all);
        assert_eq!(output.code, 0, "{}\n{}", output.stderr, self.compose(&["logs"]).stdout);
    }

    /// A container of a service, counted from 1.
    pub(crate) fn container(&self, service: &str, number: usize) -> Container {
        Container { name: format!("{}-{service}-{number}", self.project) }
    }

    /// The URL of a published port.
    pub(crate) fn url(&self, port: &str) -> String {
        let (_, port) = self.ports.iter().find(|(name, _)| *name == port).unwrap();
        format!("http://127.0.0.1:{port}")
    }

    /// The API key of applications.
    pub(crate) fn key(&self) -> String {
        self.read("deploy/secrets/api_key")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if thread::panicking() {
            let logs = self.compose(&["--profile", "*", "logs", "--tail", "40"]);
            super::report(&logs.stdout);
        }
        self.health.stop();
        self.compose(&["--profile", "*", "down", "--volumes", "--timeout", "0"]);
        let names = podman(&["ps", "--all", "--format", "{{.Names}}"]);
        for name in names.lines().filter(|name| name.starts_with(&self.project)) {
            try_podman(&["rm", "--force", "--volumes", "--time", "0", name]);
        }
    }
}
