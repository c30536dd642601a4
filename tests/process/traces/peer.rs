//! Traces through a third-party collector: rotel, in the version that `tests/otlp/requirements.txt`
//! pins.
//! `.ci/test` installs it.

use std::{path::PathBuf, process::Stdio};

use mlsdm::testkit::{eventually, free_port};
use tokio::process::Command;

use super::*;

fn program() -> PathBuf {
    let venv = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/ci/otlp/venv/lib"));
    let pythons = std::fs::read_dir(&venv).into_iter().flatten().flatten();
    let agents = pythons.map(|python| python.path().join("site-packages/rotel/rotel-agent"));
    let found = agents.into_iter().find(|agent| agent.is_file());
    found.unwrap_or_else(|| {
        panic!("no rotel in {}: run .ci/test, which installs it", venv.display())
    })
}

#[tokio::test]
async fn a_third_party_collector_understands_our_traces() {
    let (database, sink) = (TestDatabase::sqlite(), Sink::new().await);
    let [http, grpc] = [free_port(), free_port()];
    let mut agent = Command::new(program());
    agent.args(["start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"]);
    agent.args(["--otlp-exporter-endpoint", &sink.url(), "--batch-timeout", "100ms"]);
    agent.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")]);
    agent.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")]);
    agent.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let folder = tempfile::tempdir().unwrap();
    let mut agent = agent.current_dir(folder.path()).spawn().unwrap();
    eventually("the start of rotel", async || {
        assert!(agent.try_wait().unwrap().is_none(), "rotel exited");
        tokio::net::TcpStream::connect(("127.0.0.1", http)).await
    })
    .await;
    let env = TestEnv::new(database.url())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{http}"))
        .with("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    let server = env.serve().await;
    let [trace, ..] = response(&send(ask(&server, 0.9)).await.unwrap());
    server.stop().await;
    let spans = eventually("the arrival of all spans", async || {
        let spans = of_trace(&sink, &trace).await;
        if spans.len() >= 8 { Ok(spans) } else { Err(format!("{:#?}", sink.spans().await)) }
    })
    .await;
    assert_eq!(spans[0].name, ROOT);
    assert_eq!(spans[0].get("http.route"), "/v1/generate");
    assert!(spans[1..].iter().any(|span| span.parent == spans[0].id));
    agent.kill().await.unwrap();
}
