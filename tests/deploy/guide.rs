//! The names that the deployment guide promises: its list of variables, its configuration file and its
//! requests work as they are, and each of them takes effect.

mod double;

use serde_json::{Value, json};

use crate::{
    documents::blocks::blocks,
    documents::machine::{Done, Machine},
    path,
};

const GUIDE: &str = "deploy/GUIDE.md";

/// The block of a language that has a text.
fn block(language: &str, part: &str) -> String {
    let found = blocks(GUIDE).into_iter();
    let mut fits = found.filter(|block| block.language == language && block.text.contains(part));
    fits.next().unwrap_or_else(|| panic!("{GUIDE} has no block {language} with {part}")).text
}

/// The lines of the list of variables as Docker reads an env file: name and value, which includes a comment
/// at the end of the line.
fn variables() -> Vec<(String, String)> {
    let list = block("bash", "MLSDM_WAKE_DURATION");
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    lines.map(pair).collect()
}

/// The keys that the variables of the guide set, with their values as shown.
fn expected() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("OPENAI_API_KEY", "llm.openai.api_key", json!("(set)")),
        ("ANTHROPIC_API_KEY", "llm.anthropic.api_key", json!("(set)")),
        ("MLSDM_DIM", "mlsdm.policy.dimension", json!(384)),
        ("MLSDM_CAPACITY", "mlsdm.policy.capacity", json!(20_000)),
        ("MLSDM_WAKE_DURATION", "mlsdm.policy.rhythm.wake_duration", json!(8)),
        ("MLSDM_SLEEP_DURATION", "mlsdm.policy.rhythm.sleep_duration", json!(3)),
        ("MLSDM_INITIAL_THRESHOLD", "mlsdm.policy.moral.initial_threshold", json!(0.5)),
        ("LOG_LEVEL", "logging.level", json!("INFO")),
        ("LOG_FORMAT", "logging.format", json!("json")),
        ("API_PORT", "api.port", json!(8000)),
        ("API_WORKERS", "api.workers", json!(4)),
        ("API_TIMEOUT", "api.timeout", json!(30)),
        ("METRICS_ENABLED", "monitoring.enabled", json!(true)),
        ("METRICS_PORT", "monitoring.metrics_port", json!(9090)),
    ]
}

/// Prints the settings, and what the running server does.
const LOOK: [&str; 4] = [
    "export MLSDM_TOKEN=$(mlsdm token); mlsdm config --json",
    "curl -s http://127.0.0.1:8000/v1/state -H \"Authorization: Bearer $MLSDM_TOKEN\"",
    "curl -s http://127.0.0.1:9090/metrics",
    "cat /proc/$(pgrep -x mlsdm)/task/*/comm",
];

fn all(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[track_caller]
fn good(done: &[Done]) {
    for done in done {
        assert_eq!(done.code, 0, "{}", done.output);
    }
}

/// The number of HTTP workers, in a list of threads. Their names are shortened; one more serves the metrics.
fn workers(threads: &Done) -> usize {
    threads.output.matches("actix-server wo").count() - 1
}

/// Asserts that each variable of the guide is the source of its setting.
fn all_have_effect(done: &[Done]) {
    let settings: Value = serde_json::from_str(&done[0].output).unwrap();
    for (variable, key, value) in expected() {
        let mut rows = settings["settings"].as_array().unwrap().iter();
        let row = rows.find(|row| row["key"] == key).unwrap();
        assert_eq!(row["source"], format!("env {variable}"));
        assert_eq!(row["value"], value, "{key}");
    }
    let state: Value = serde_json::from_str(&done[1].output).unwrap();
    assert_eq!(state["policy"]["dimension"], 384);
    assert!(done[2].output.contains("mlsdm_steps_total"), "{}", done[2].output);
    assert_eq!(workers(&done[3]), 4);
}

#[test]
fn the_list_of_variables_is_that_of_the_guide() {
    let names: Vec<String> = variables().into_iter().map(|(name, _)| name).collect();
    let expected: Vec<&str> = expected().iter().map(|(name, _, _)| *name).collect();
    assert_eq!(names, expected);
}

#[test]
fn the_list_of_variables_works_in_a_shell() {
    let machine = Machine::new();
    std::fs::write(machine.folder().join("list"), block("bash", "MLSDM_WAKE_DURATION")).unwrap();
    let done = machine.run(&[all(&["set -a; . ./list; set +a; serve"]), all(&LOOK)].concat());
    good(&done);
    all_have_effect(&done[1..]);
}

#[test]
fn the_list_of_variables_works_as_an_env_file_of_docker() {
    let given = variables();
    assert!(given.iter().any(|(_, value)| value.contains('#')), "the list has comments");
    let export = |(name, value): &(String, String)| format!("export {name}='{value}'; ");
    let exports: String = given.iter().map(export).collect();
    let done = Machine::new().run(&[vec![format!("{exports} serve")], all(&LOOK)].concat());
    good(&done);
    all_have_effect(&done[1..]);
}

/// Other values than those of the guide, which are mostly the defaults.
#[test]
fn every_variable_of_the_list_changes_the_server() {
    let machine = Machine::new();
    let done = machine.run(&all(&[
        "export MLSDM_DIM=128 MLSDM_CAPACITY=500 MLSDM_WAKE_DURATION=20 MLSDM_SLEEP_DURATION=2",
        "export MLSDM_INITIAL_THRESHOLD=0.6 LOG_LEVEL=WARNING LOG_FORMAT=text API_PORT=8010",
        "export API_WORKERS=3 API_TIMEOUT=2 METRICS_PORT=9191 MLSDM__LLM__STUB__LATENCY_MS=10000",
        "mlsdm serve >server.log 2>&1 & for _ in $(seq 600); do \
         curl -sf http://127.0.0.1:8010/health/ready && break; sleep 0.1; done",
        "export MLSDM_TOKEN=$(mlsdm token)",
        "curl -sf http://127.0.0.1:8010/v1/state -H \"Authorization: Bearer $MLSDM_TOKEN\"",
        "curl -sf http://127.0.0.1:9191/metrics",
        "cat /proc/$(pgrep -x mlsdm)/task/*/comm",
        "curl -s -X POST http://127.0.0.1:8010/generate -H \"Authorization: Bearer $MLSDM_TOKEN\" \
         -H 'Content-Type: application/json' -d '{\"prompt\": \"Hello\", \"moral_value\": 0.9}'",
        "cat server.log",
        "kill %1; wait %1; METRICS_ENABLED=false mlsdm serve >server.log 2>&1 & sleep 0.1; \
         for _ in $(seq 600); do curl -sf http://127.0.0.1:8010/health/ready && break; sleep 0.1; \
         done; ! curl -s http://127.0.0.1:9191/metrics",
    ]));
    good(&done);
    let state: Value = serde_json::from_str(&done[5].output).unwrap();
    let policy = &state["policy"];
    assert_eq!((&policy["dimension"], &policy["capacity"]), (&json!(128), &json!(500)));
    let rhythm = &policy["rhythm"];
    assert_eq!((&rhythm["wake_duration"], &rhythm["sleep_duration"]), (&json!(20), &json!(2)));
    assert_eq!(state["moral_threshold"], 0.6);
    assert!(done[6].output.contains("mlsdm_steps_total"));
    assert_eq!(workers(&done[7]), 3);
    assert!(done[8].output.contains("\"status\":504"), "{}", done[8].output);
    let log = &done[9].output;
    assert!(!log.contains("INFO") && !log.contains("{\"timestamp\""), "{log}");
}

/// With the weights of the sentence transformer, and a model server in place of OpenAI.
#[test]
fn the_configuration_file_of_the_guide_starts_the_server_and_takes_effect() {
    let machine = Machine::new();
    std::fs::write(machine.folder().join("config.yaml"), block("yaml", "# config.yaml")).unwrap();
    std::fs::write(machine.folder().join("double.py"), double::SCRIPT).unwrap();
    let weights = path("target/ci/all-MiniLM-L6-v2");
    assert!(weights.join("config.json").exists(), "{}: .ci/test fetches it", weights.display());
    let preflight = |origin: &str| {
        format!(
            "curl -si -X OPTIONS http://127.0.0.1:8000/generate -H 'Origin: {origin}' \
             -H 'Access-Control-Request-Method: POST'"
        )
    };
    let ask = "curl -s -X POST http://localhost:8000/generate -H \"Authorization: Bearer $MLSDM_TOKEN\" \
               -H 'Content-Type: application/json' -d '{\"prompt\": \"Hello\", \"moral_value\": 0.8}'";
    let lines = [
        // the folder of the log, on a file system of this machine alone
        "mount -t tmpfs none /var/log && mkdir /var/log/mlsdm".to_owned(),
        "python3 double.py & for _ in $(seq 100); do curl -s http://127.0.0.1:7000 && break; \
         sleep 0.1; done"
            .to_owned(),
        format!(
            "export OPENAI_API_KEY=sk-test MLSDM__LLM__OPENAI__BASE_URL=http://127.0.0.1:7000/v1 \
             MLSDM__EMBEDDINGS__PATH={}",
            weights.display()
        ),
        "serve".to_owned(),
        "export MLSDM_TOKEN=$(mlsdm token)".to_owned(),
        ask.to_owned(),
        "curl -s http://127.0.0.1:7000/last".to_owned(),
        preflight("https://yourdomain.com"),
        preflight("https://elsewhere.example"),
        "cat /var/log/mlsdm/app.log".to_owned(),
    ];
    let done = machine.run(&[lines.to_vec(), all(&LOOK)].concat());
    good(&done);
    assert!(done[5].output.contains("The double answers."), "{}", done[5].output);
    let asked: Value = serde_json::from_str(&done[6].output).unwrap();
    assert_eq!(asked["model"], "gpt-3.5-turbo");
    assert_eq!(asked["max_tokens"], 2048);
    assert_eq!(asked["temperature"], 0.7);
    let allows = |done: &Done| done.output.to_lowercase().contains("access-control-allow-origin");
    assert!(allows(&done[7]) && !allows(&done[8]), "{done:?}");
    let log = &done[9].output;
    assert!(log.lines().all(|line| line.starts_with('{')) && log.contains("server.started"));
    assert!(log.contains("monitoring.health_check_interval"), "it says that the key has no effect");
    let state: Value = serde_json::from_str(&done[11].output).unwrap();
    assert_eq!(state["policy"]["embedder"]["id"], "minilm-l6-v2");
    comes_from_the_file(&done[10].output);
    assert!(done[12].output.contains("mlsdm_steps_total"));
    assert_eq!(workers(&done[13]), 4);
}

/// Asserts that the source of every key of the guide's file is that file.
fn comes_from_the_file(settings: &str) {
    let settings: Value = serde_json::from_str(settings).unwrap();
    let from_file: Vec<&str> = settings["settings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["source"].as_str().unwrap().contains("config.yaml"))
        .map(|row| row["key"].as_str().unwrap())
        .collect();
    for key in [
        "mlsdm.policy.dimension",
        "mlsdm.policy.capacity",
        "mlsdm.policy.rhythm.wake_duration",
        "mlsdm.policy.rhythm.sleep_duration",
        "mlsdm.policy.moral.initial_threshold",
        "llm.provider",
        "llm.model",
        "llm.max_tokens",
        "llm.temperature",
        "embeddings.provider",
        "embeddings.model",
        "api.port",
        "api.workers",
        "api.timeout",
        "api.cors_origins",
        "logging.level",
        "logging.format",
        "logging.file",
        "monitoring.enabled",
        "monitoring.metrics_port",
        "monitoring.health_check_interval",
    ] {
        assert!(from_file.contains(&key), "{key}: {from_file:?}");
    }
}

/// The requests of the original guide, character for character, with one more header.
#[test]
fn the_requests_of_the_guide_work_with_one_token_header() {
    let done = Machine::new().run(&all(&[
        "serve",
        "export MLSDM_TOKEN=$(mlsdm token)",
        "curl() { command curl -s -H \"Authorization: Bearer $MLSDM_TOKEN\" \"$@\"; }",
        "curl http://localhost:8000/health",
        r#"curl -X POST http://localhost:8000/generate \
  -H "Content-Type: application/json" \
  -d '{"prompt": "Hello", "moral_value": 0.8}'"#,
        // its own header is a placeholder
        "curl() { command curl -s \"${@//YOUR_OIDC_TOKEN/$MLSDM_TOKEN}\"; }",
        r#"curl -X POST http://localhost:8000/generate \
  -H "Authorization: Bearer YOUR_OIDC_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"prompt": "Hello"}'"#,
    ]));
    good(&done);
    assert!(done[3].output.contains("\"status\":\"healthy\""), "{}", done[3].output);
    for answer in [&done[4], &done[6]] {
        assert!(answer.output.contains("\"accepted\":true"), "{}", answer.output);
    }
}

#[test]
fn the_variables_of_an_identity_provider_take_effect() {
    let exports = block("bash", "MLSDM_OIDC_ISSUER");
    let done = Machine::new().run(&[exports.clone(), "mlsdm config --json".to_owned()]);
    good(&done);
    let settings: Value = serde_json::from_str(&done[1].output).unwrap();
    let rows = settings["settings"].as_array().unwrap();
    let mut variables = 0;
    for line in exports.lines() {
        let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
        let row = rows.iter().find(|row| row["source"] == format!("env {name}")).unwrap();
        assert_eq!(row["value"].to_string().trim_matches('"'), value);
        variables += 1;
    }
    assert_eq!(variables, 5);
}

#[test]
fn the_port_of_a_platform_is_honoured() {
    let done = Machine::new().run(&all(&[
        "export PORT=8000 API_PORT=8010",
        "serve",
        "! curl -s http://127.0.0.1:8010/health",
        "mlsdm health",
    ]));
    good(&done);
}
