//! SIGTERM under load.

use std::sync::atomic::{AtomicBool, Ordering};

use mlsdm::testkit::eventually;
use tokio::task::JoinSet;

use super::{KEY, ready};
use crate::containers::{Sandbox, get, podman, try_generate};

const CLIENTS: usize = 8;
/// The grace period of the manifests in seconds; then the container is killed with exit code 137.
const GRACE: &str = "45";

/// Until the balancer sees status 503 it sends requests, and each of them is answered.
#[tokio::test]
async fn a_stop_under_load_answers_every_request_within_the_grace_period() {
    static LEAVING: AtomicBool = AtomicBool::new(false);
    let sandbox = Sandbox::new();
    let options = [
        "--env=MLSDM__API__DRAIN_SECONDS=4",
        "--env=MLSDM__LLM__STUB__LATENCY_MS=150",
        "--env=DISABLE_RATE_LIMIT=true",
    ];
    let server = ready(&sandbox, &options).await;
    let url = server.url(8000);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let url = url.clone();
        clients.spawn(async move {
            let mut statuses = Vec::new();
            while !LEAVING.load(Ordering::Relaxed) {
                let answer = try_generate(&url, KEY, &format!("Request of {client}")).await;
                statuses.push(answer.map(|answer| answer.status).map_err(|e| e.to_string()));
            }
            statuses
        });
    }
    eventually("a step", async || {
        let state = mlsdm::testkit::http_client().get(format!("{url}/v1/state"));
        let state = mlsdm::testkit::send(state.header("X-API-Key", KEY)).await;
        let step = state.map_err(|error| error.to_string())?.ok()["step"].as_u64();
        if step > Some(0) { Ok(()) } else { Err(format!("{step:?}")) }
    })
    .await;

    let name = server.name.clone();
    let stop = tokio::task::spawn_blocking(move || podman(&["stop", "--time", GRACE, &name]));
    eventually("status 503", async || match get(&format!("{url}/health/ready")).await {
        Ok(response) if response.status == 503 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let late = try_generate(&url, KEY, "A late request").await.unwrap();
    assert_eq!(late.status, 200, "it serves while it drains: {late:?}");
    LEAVING.store(true, Ordering::Relaxed);
    let mut answered = 0;
    while let Some(statuses) = clients.join_next().await {
        for status in statuses.unwrap() {
            assert_eq!(status, Ok(200));
            answered += 1;
        }
    }
    assert!(answered >= CLIENTS, "{answered}");
    stop.await.unwrap();
    assert_eq!(server.exit_code().await, 0, "{}", server.logs());
}
