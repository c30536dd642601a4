//! The compose files, run by the newest Docker Compose of Debian.

mod heavy;

use std::{
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
};

use mlsdm::testkit::CommandOutput;

use crate::{
    containers::{generate, get, podman, stack::Stack, try_podman},
    path,
};

/// The oldest version whose env files may be optional and that resets values.
const OLDEST: (u32, u32) = (2, 26);

#[test]
fn docker_compose_is_recent() {
    let program = path("target/ci/compose/docker-compose");
    let output: CommandOutput =
        std::process::Command::new(program).args(["version", "--short"]).output().unwrap().into();
    let version = output.exits(0).stdout;
    // a closed stderr has no reader
    drop(writeln!(io::stderr(), "Docker Compose {version}"));
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    assert!((parts.next().unwrap(), parts.next().unwrap()) >= OLDEST, "{version}");
}

#[test]
fn secrets_are_made_once_and_for_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    let run = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(path("deploy/secrets.sh"));
        let output: CommandOutput =
            command.arg(&secrets).envs(variables.iter().copied()).output().unwrap().into();
        output.exits(0).stdout
    };
    let read = |name: &str| std::fs::read_to_string(secrets.join(name)).unwrap();
    let made = run(&[("API_KEY", "the-key-of-an-earlier-installation")]);
    assert_eq!(made.matches("made ").count(), 6, "{made}");
    assert_eq!(read("api_key"), "the-key-of-an-earlier-installation");
    assert_eq!(read("content_key").len(), 64);
    let password = read("postgres_password");
    assert_eq!(read("database_url"), format!("postgres://mlsdm:{password}@postgres:5432/mlsdm"));
    let kept = run(&[("API_KEY", "another key")]);
    assert_eq!(kept.matches("kept ").count(), 6, "{kept}");
    assert_eq!(read("api_key"), "the-key-of-an-earlier-installation");
    for secret in ["postgres_password", "content_key", "api_key", "admin_api_key"] {
        assert!(!made.contains(&read(secret)), "no secret is shown");
    }
    let about = std::fs::metadata(&secrets).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o700);
}

/// A password is a part of a URL.
#[test]
fn a_password_that_would_change_the_url_of_the_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |password: &str| -> CommandOutput {
        let mut command = std::process::Command::new(path("deploy/secrets.sh"));
        // relative to the folder of the caller
        command.arg("made").current_dir(folder.path()).env("POSTGRES_PASSWORD", password);
        command.output().unwrap().into()
    };
    for wrong in ["a@b", "a/b", "a b", "a%40", "a\nb"] {
        assert!(run(wrong).exits(2).stderr.contains("POSTGRES_PASSWORD"), "{wrong}");
        assert!(!folder.path().join("made").exists());
    }
    run("Aa0._~-").exits(0);
    let url = std::fs::read_to_string(folder.path().join("made/database_url")).unwrap();
    assert_eq!(url, "postgres://mlsdm:Aa0._~-@postgres:5432/mlsdm");
}

/// Those that the compose file sets itself need no line.
#[test]
fn every_variable_is_passed_on_from_the_shell() {
    let source = std::fs::read_to_string(path("src/config/env.rs")).unwrap();
    let (table, _) = source.split_once("];").unwrap();
    let names = table.split("(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let passed = std::fs::read_to_string(path("deploy/shell.env")).unwrap();
    let compose = std::fs::read_to_string(path("deploy/compose.yaml")).unwrap();
    let mut count = 0;
    for name in names {
        let is_passed = passed.lines().any(|line| line == name);
        let is_set = compose.lines().any(|line| {
            let key = line.trim_start().split(':').next().unwrap();
            key.strip_suffix("_FILE").unwrap_or(key) == name
        });
        assert_ne!(is_passed, is_set, "{name}: a line of shell.env, or a key of compose.yaml");
        count += 1;
    }
    assert!(count >= 48, "{count}");
}

/// The commands of the guide, on a copy of the repository without anything else.
#[tokio::test]
async fn the_stack_starts_from_nothing_and_keeps_its_log() {
    let stack = Stack::new();
    stack.write(
        "deploy/mlsdm.env",
        &std::fs::read_to_string(path("tests/deploy/guide/env")).unwrap(),
    );
    stack.secrets();
    stack.up(&[]);
    for service in ["neuro-engine", "postgres"] {
        let container = stack.container(service, 1);
        assert_eq!(container.inspect("{{.State.Health.Status}}"), "healthy", "{service}");
        assert_eq!(container.inspect("{{.RestartCount}}"), "0", "{service}");
        assert_eq!(container.inspect("{{.HostConfig.ReadonlyRootfs}}"), "true", "{service}");
    }
    let ports = podman(&["port", &stack.container("postgres", 1).name]);
    assert_eq!(ports, "", "only servers reach the database");
    let server = stack.container("neuro-engine", 1);
    assert_eq!(server.logs().matches("server.started").count(), 1, "it started once");
    assert_eq!(server.process().memory_limit(), 2 * 1024 * 1024 * 1024);
    let environment = server.inspect("{{.Config.Env}}");
    for secret in ["postgres_password", "database_url", "content_key", "api_key"] {
        let secret = stack.read(&format!("deploy/secrets/{secret}"));
        assert!(!environment.contains(&secret), "{environment}");
    }
    settings_of_the_guide_arrive(&server.exec(&["mlsdm", "config", "--json"]).exits(0));

    let url = stack.url("API_PORT");
    assert_eq!(get(&format!("{url}/health")).await.unwrap().status, 200);
    let answer = generate(&url, &stack.key(), "Hello").await.ok();
    assert_eq!(answer["step"], 1);

    stack.compose(&["down"]).exits(0);
    assert_eq!(try_podman(&["container", "exists", &server.name]).code, 1);
    stack.up(&[]);
    let answer = generate(&url, &stack.key(), "Hello again").await.ok();
    assert_eq!(answer["step"], 2, "the log is in a volume");
}

/// Every variable of the guide has set its key.
fn settings_of_the_guide_arrive(config: &CommandOutput) {
    let settings = config.json()["settings"].as_array().unwrap().clone();
    let text = std::fs::read_to_string(path("tests/deploy/guide/env")).unwrap();
    let names = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    for name in names.filter(|name| !name.starts_with('#')) {
        let sets = |setting: &serde_json::Value| setting["source"].to_string().contains(name);
        assert!(settings.iter().any(sets), "{name} sets no key");
    }
}
