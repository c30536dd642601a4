use std::fs;

use mlsdm::testkit::{TestDatabase, http_client, send};
use serde_json::{Value, json};

use super::{Pod, forward, limits};
use crate::{
    kubernetes::{Set, every_set, title},
    resolver::environment::secret,
};

/// The URL of a database as pods reach it.
async fn reachable(database: &TestDatabase) -> String {
    let url = database.direct_url();
    let (start, rest) = url.rsplit_once('@').unwrap();
    let (place, name) = rest.split_once('/').unwrap();
    let (_, port) = place.rsplit_once(':').unwrap();
    let port = forward(port.parse().unwrap()).await;
    format!("{start}@host.containers.internal:{port}/{name}")
}

/// A field of `/proc/PID/status`.
fn status(pid: &Value, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

/// The process has the restrictions and limits of its manifest.
fn is_restricted(pod: &Pod, workload: &Value) {
    let container = pod.container();
    let pid = &container["State"]["Pid"];
    assert_eq!(status(pid, "Uid"), "65532");
    assert_eq!(status(pid, "CapEff").trim_start_matches('0'), "", "no capabilities");
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(container["HostConfig"]["ReadonlyRootfs"], true);
    let (memory, cpu) = limits(workload);
    assert_eq!(container["HostConfig"]["Memory"], memory);
    let quota = container["HostConfig"]["CpuQuota"].as_u64().unwrap();
    let period = container["HostConfig"]["CpuPeriod"].as_u64().unwrap();
    assert_eq!(quota * 1000 / period, cpu);
}

async fn serves(set: &Set, deployment: &Value, database: &str) {
    let mut pod = Pod::play(set, deployment, database);
    pod.until_ok("/health/live").await;
    pod.until_ok("/health/ready").await;
    is_restricted(&pod, deployment);
    if set.name == "dev" {
        // the built-in model
        let url = format!("http://127.0.0.1:{}/v1/generate", pod.api);
        let request = http_client().post(url).header("X-API-Key", secret("api-key"));
        let request = request.json(&json!({"prompt": "Hello", "moral_value": 0.9}));
        assert_eq!(send(request).await.unwrap().ok()["accepted"], true);
    }
    let log = pod.end();
    assert!(log.contains("server.started"), "{log}");
}

fn completes(set: &Set, job: &Value, database: &str) {
    let mut pod = Pod::play(set, job, database);
    assert_eq!(pod.container()["State"]["ExitCode"], 0);
    let log = pod.end();
    assert!(log.contains("tables of this version"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_deployment_and_job_runs_as_a_pod() {
    let mut played = Vec::new();
    for set in every_set() {
        let database = TestDatabase::postgres().await;
        let url = reachable(&database).await;
        let jobs = set.of_kind("Job");
        for workload in jobs.chain(set.of_kind("Deployment")) {
            // production with all components has the same workloads
            let name = format!("{} {}", set.name, title(workload));
            if set.name == "everything" {
                continue;
            }
            if workload["kind"] == "Job" {
                completes(&set, workload, &url);
            } else {
                serves(&set, workload, &url).await;
            }
            played.push(name);
        }
    }
    assert_eq!(played.len(), 6, "{played:?}");
}
