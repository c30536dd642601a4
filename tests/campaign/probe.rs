//! Probes of readiness, health and memory while a run lasts.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mlsdm::testkit::http_client_builder;
use tokio::task::JoinSet;

use crate::client::Target;

/// Pause between two probes.
const INTERVAL: Duration = Duration::from_millis(100);
/// The timeout of a probe.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The result of the probes of a replica at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// `/health/ready` and `/health` answered 200.
    pub(crate) ready: bool,
    pub(crate) healthy: bool,
}

/// Probes that run until they are collected.
pub(crate) struct Probes {
    tasks: JoinSet<Vec<Probe>>,
    stopped: Arc<tokio_util::sync::CancellationToken>,
    memory: Arc<AtomicU64>,
}

impl Probes {
    pub(crate) fn start(targets: &Arc<Vec<Target>>) -> Self {
        let stopped = Arc::new(tokio_util::sync::CancellationToken::new());
        let memory = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for replica in 0..targets.len() {
            let (targets, stopped) = (Arc::clone(targets), Arc::clone(&stopped));
            let memory = Arc::clone(&memory);
            tasks.spawn(async move {
                let http = http_client_builder().timeout(TIMEOUT).build().unwrap();
                let mut probes = Vec::new();
                while !stopped.is_cancelled() {
                    let target = &targets[replica];
                    probes.push(probe(&http, &target.base()).await);
                    let used = resident_mib(target.process.load(Ordering::Relaxed));
                    memory.fetch_max(used, Ordering::Relaxed);
                    tokio::time::sleep(INTERVAL).await;
                }
                probes
            });
        }
        Self { tasks, stopped, memory }
    }

    /// The probes of all replicas, and the largest resident memory of any in MiB.
    pub(crate) async fn finish(self) -> (Vec<Probe>, u64) {
        self.stopped.cancel();
        let probes = self.tasks.join_all().await.into_iter().flatten().collect();
        (probes, self.memory.load(Ordering::Relaxed))
    }
}

async fn probe(http: &reqwest::Client, base: &str) -> Probe {
    let began = Instant::now();
    let answers = async |path: &str| {
        let response = http.get(format!("{base}{path}")).send().await;
        response.is_ok_and(|response| response.status() == 200)
    };
    let (ready, healthy) = tokio::join!(answers("/health/ready"), answers("/health"));
    Probe { began, ended: Instant::now(), ready, healthy }
}

/// The resident memory of a process; 0 if it does not exist.
fn resident_mib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
