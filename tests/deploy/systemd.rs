//! The systemd unit, and the log file that Filebeat reads.

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command,
};

use mlsdm::testkit::{CONTENT_KEY, TestEnv};
use serde_json::Value;

const UNIT: &str = include_str!("../../deploy/systemd/mlsdm.service");
const FILEBEAT: &str = include_str!("../../deploy/monitoring/elk/filebeat.yml");
const BINARY: &str = "/usr/local/bin/mlsdm";
/// `systemd-analyze security` in tenths: below 2 is its best grade for a service on the network.
const EXPOSURE_MAX: &str = "--threshold=20";
/// The last flush of logs, traces and metrics.
const FLUSH_SECONDS: u64 = 10;

/// The values of a key of the unit.
fn values(key: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn analyze(arguments: &[&str], unit: &Path) -> String {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    let output = output.unwrap_or_else(|error| panic!("install systemd (apt-get): {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "systemd-analyze {arguments:?}: {text}");
    text
}

#[test]
fn the_systemd_unit_is_valid_and_confines_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("mlsdm.service");
    // the only change: the place of the binary
    assert_eq!(values("ExecStart"), [format!("{BINARY} serve")]);
    fs::write(&unit, UNIT.replace(BINARY, env!("CARGO_BIN_EXE_mlsdm"))).unwrap();
    let findings = analyze(&["verify"], &unit);
    assert!(!findings.contains("mlsdm.service"), "{findings}");
    analyze(&["security", "--offline=true", EXPOSURE_MAX], &unit);
}

/// The server's user reads the settings, and only root the secrets, which systemd passes on.
#[test]
fn the_documented_commands_make_files_that_the_unit_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("etc");
    let document = crate::documents::blocks::text("deploy/OPERATIONS.md");
    let commands: Vec<String> = document
        .lines()
        .filter(|line| line.contains(" /etc/mlsdm") && line.contains("sudo "))
        .map(|line| line.replace("sudo ", "").replace("/etc/mlsdm", there.to_str().unwrap()))
        .collect();
    assert_eq!(commands.len(), 5, "{commands:#?}");
    let script = format!("set -eu; umask 022\n{}", commands.join("\n"));
    let done = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&there), 0o755);
    for secret in ["content_key", "env"] {
        assert_eq!(mode(&there.join(secret)), 0o600, "{secret}");
    }
    let key = fs::read_to_string(there.join("content_key")).unwrap();
    assert_eq!(key.trim().len(), 64);
    // a folder that cannot be entered is not skipped, and systemd makes a missing one
    assert_eq!(values("WorkingDirectory"), ["/etc/mlsdm"]);
    assert_eq!(values("ConfigurationDirectory"), ["mlsdm"]);
    assert_eq!(values("LoadCredential"), ["content_key:/etc/mlsdm/content_key"]);
    assert_eq!(values("StartLimitIntervalSec"), ["0"]);
}

/// Fields that Filebeat takes from a line.
fn fields() -> BTreeSet<String> {
    let config: Value = serde_saphyr::from_str(FILEBEAT).unwrap();
    let input = &config["filebeat.inputs"][0];
    assert_eq!(input["paths"], serde_json::json!(["/var/log/mlsdm/*.log"]));
    assert_eq!(input["parsers"][0]["ndjson"]["target"], "mlsdm");
    assert_eq!(config["output.elasticsearch"]["index"], "mlsdm-logs-%{+yyyy.MM.dd}");
    let processors = config["processors"].as_array().unwrap();
    let renamed = processors.iter().filter_map(|one| one["rename"]["fields"].as_array()).flatten();
    let time = processors.iter().find_map(|one| one["timestamp"]["field"].as_str());
    let names = renamed.map(|field| field["from"].as_str().unwrap()).chain(time);
    names.map(|name| name.strip_prefix("mlsdm.").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_unit_serves_and_writes_the_log_that_filebeat_reads() {
    let folder = tempfile::tempdir().unwrap();
    let [state, logs, credentials] = ["state", "logs", "credentials"].map(|name| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.join("mlsdm")).unwrap();
        path.display().to_string()
    });
    fs::write(format!("{credentials}/content_key"), CONTENT_KEY).unwrap();
    let mut env = TestEnv::new("").without("MLSDM_CONTENT_KEY");
    for line in values("Environment") {
        let (name, value) = line.split_once('=').unwrap();
        let value = value.replace("%S", &state).replace("%L", &logs).replace("%d", &credentials);
        env = env.with(name, value);
    }
    let config = env.run(&["config", "--json"]).await.exits(0).json();
    let server = env.serve().await;
    server.say("ann", "a prompt").await;
    server.stop().await;

    let database = Path::new(&state).join("mlsdm/mlsdm.db");
    assert!(database.exists(), "the database is in the state directory");
    assert!(!database.with_extension("key").exists(), "the content key is the credential");
    let log = fs::read_dir(format!("{logs}/mlsdm")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(log.extension().unwrap(), "log", "the pattern of Filebeat");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for field in fields() {
        let has = |line: &&Value| line[&field].is_string();
        let found = lines.iter().filter(has).count();
        // only events have a type
        let wanted =
            if field == "event_type" { 1..=lines.len() } else { lines.len()..=lines.len() };
        assert!(wanted.contains(&found), "{field} in {found} of {} lines", lines.len());
    }
    let time = lines[0]["timestamp"].as_str().unwrap();
    assert_eq!(time.len(), "2006-01-02T15:04:05.999999Z".len(), "{time}");

    let seconds = |key: &str| {
        let settings = config["settings"].as_array().unwrap();
        let found =
            settings.iter().find(|one| one["key"] == key).unwrap_or_else(|| panic!("{key}"));
        found["value"].as_u64().unwrap()
    };
    let drain = seconds("api.drain_seconds") + seconds("llm.drain_timeout") + FLUSH_SECONDS;
    let stop: u64 = values("TimeoutStopSec")[0].parse().unwrap();
    assert!(stop >= drain, "systemd kills the server after {stop} s, but it may drain {drain} s");
}
