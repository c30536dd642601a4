//! One run: replicas under load, faults, and the check of everything that was answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mlsdm::testkit::{TestEnv, TestServer, seed};
use serde_json::Value;

use crate::{
    call::Call,
    check::{check, wasted},
    client::Load,
    fleet::{Fleet, LAST_WORDS},
    liveness::{Fault, measure},
    log,
    model::Model,
    probe::{Probe, Probes},
    report::Report,
};

/// The limit of a request: `api.timeout` and `llm.total_timeout`.
pub(crate) const LIMIT: Duration = Duration::from_secs(6);
/// The tolerance for answers after the limit.
const TOLERANCE: Duration = Duration::from_secs(1);
/// The time after the limit at which a client gives up.
const PATIENCE: Duration = Duration::from_secs(3);
/// `engine.abandon_grace_seconds`.
const GRACE_SECONDS: u64 = 3;
/// The number of clients.
const CLIENTS: u64 = 32;
/// The number of answers before the first fault and after each.
const ANSWERS: u64 = 100;
/// Calls after a fault are observed at least for this time, and at most for the second one.
const OBSERVED: Duration = Duration::from_secs(4);
const OBSERVED_MAX: Duration = Duration::from_mins(1);

/// A run before it starts.
pub(crate) struct Scenario {
    name: &'static str,
    /// Environments of the replicas, and the one of commands.
    envs: Vec<TestEnv>,
    direct: TestEnv,
}

impl Scenario {
    /// Two replicas on a database.
    pub(crate) fn new(name: &'static str, database_url: &str) -> Self {
        let direct = env(database_url);
        Self { name, envs: vec![direct.clone(), direct.clone()], direct }
    }

    pub(crate) fn replicas(self, replicas: usize) -> Self {
        Self { envs: vec![self.direct.clone(); replicas], ..self }
    }

    /// Sets a variable of one replica.
    pub(crate) fn of_replica(mut self, replica: usize, name: &str, value: &str) -> Self {
        self.envs[replica] = self.envs[replica].clone().with(name, value);
        self
    }

    /// Starts the replicas and the load, and waits until they answer.
    pub(crate) async fn start(self) -> Run {
        let (model, seed) = (Arc::new(Model::start().await), seed());
        let envs = self.envs.iter().map(|env| model.serves(env.clone())).collect();
        let fleet = Fleet::start(envs).await;
        let load = Load::start(&fleet.targets, CLIENTS, LIMIT + PATIENCE, seed);
        let probes = Probes::start(&fleet.targets);
        let direct = model.serves(self.direct);
        let run =
            Run { name: self.name, direct, model, fleet, load, probes, faults: Vec::new(), seed };
        run.load.until(|counts| counts.answered >= ANSWERS).await;
        run
    }
}

fn env(database_url: &str) -> TestEnv {
    TestEnv::new(database_url)
        .with("MLSDM__DATABASE__STATEMENT_TIMEOUT_SECONDS", 2)
        .with("MLSDM__DATABASE__LOCK_TIMEOUT_SECONDS", 2)
        .with("MLSDM__DATABASE__IDLE_TRANSACTION_TIMEOUT_MS", 1_000)
        .with("MLSDM__DATABASE__ANSWER_MARGIN_SECONDS", 1)
        .with("MLSDM__DATABASE__ACQUIRE_TIMEOUT_SECONDS", 2)
        .with("API_TIMEOUT", LIMIT.as_secs())
        .with("MLSDM__LLM__TOTAL_TIMEOUT", LIMIT.as_secs())
        .with("MLSDM__ENGINE__ABANDON_GRACE_SECONDS", GRACE_SECONDS)
}

/// Replicas under load.
pub(crate) struct Run {
    name: &'static str,
    direct: TestEnv,
    pub(crate) model: Arc<Model>,
    pub(crate) fleet: Fleet,
    load: Load,
    probes: Probes,
    faults: Vec<Fault>,
    pub(crate) seed: u64,
}

impl Run {
    /// Runs a fault from its begin to its end, and observes what follows.
    pub(crate) async fn fault(&mut self, act: impl AsyncFnOnce(&mut Fleet)) {
        let began = Instant::now();
        act(&mut self.fleet).await;
        self.faults.push(Fault { began, ended: Instant::now() });
        let answered = self.load.counts().answered;
        let served = |counts: crate::client::Counts| counts.answered >= answered + ANSWERS;
        tokio::time::sleep(OBSERVED).await;
        self.load.reaches(served, OBSERVED_MAX).await;
    }

    /// Lets the load go on until this many calls are answered, or for this time.
    pub(crate) async fn answers(&self, answered: u64, time: Duration) {
        self.load.reaches(|counts| counts.answered >= answered, time).await;
    }

    /// Stops the load and gives calls and probes, for logs that cannot be checked.
    pub(crate) async fn abort(self) -> (Vec<Call>, Vec<Probe>) {
        (self.load.stop().await, self.probes.finish().await.0)
    }

    /// Stops the load and checks the log.
    pub(crate) async fn finish(mut self) -> Report {
        let calls = self.load.stop().await;
        let (probes, memory_mib) = self.probes.finish().await;
        let servers: Vec<&TestServer> = self.fleet.servers().collect();
        for server in &servers {
            server.until_closed("default").await;
        }
        let events = log::read(servers[0], "default").await;
        let mut violations = check(&calls, &events);
        violations.sort_by_key(|violation| format!("{violation:?}"));
        let answers = self.model.answers();
        let interrupted = |call: &Call| self.fleet.interrupted(call);
        let excused = |call: &Call| interrupted(call) || outlasts(&self.faults, call);
        let wasted = wasted(&calls, &events, &answers, excused);
        let overdue =
            calls.iter().filter(|call| call.silence > LIMIT + TOLERANCE && !interrupted(call));
        let since = |call: &Call| self.faults.first().map(|fault| call.began - fault.began);
        let told = |call: &Call| {
            let (outcome, silence) = (call.outcome_name(), call.silence);
            format!("{outcome} of replica {} after {silence:?}, at {:?}", call.replica, since(call))
        };
        let overdue = overdue.map(told).collect();
        equals_replay(&servers, &self.direct).await;
        self.fleet.terminate_all().await;
        Report {
            name: self.name,
            faults: self.faults.len(),
            outcomes: Report::outcomes(&calls),
            calls: calls.len(),
            liveness: measure(&self.faults, &calls, &probes),
            slowest_stop: self.fleet.slowest_stop,
            violations,
            wasted,
            overdue,
            memory_mib,
            seed: self.seed,
        }
    }
}

/// True if a fault lasted until after the deadline of a call's step and its grace.
fn outlasts(faults: &[Fault], call: &Call) -> bool {
    let closed = call.began + LIMIT + Duration::from_secs(GRACE_SECONDS);
    let last_word = call.ended + LAST_WORDS;
    faults.iter().any(|fault| fault.began <= last_word && fault.ended >= closed)
}

/// Asserts that all replicas have the state of a replay, and that replay and audit are good.
async fn equals_replay(servers: &[&TestServer], env: &TestEnv) {
    let replay = env.run(&["replay", "--engine", "default", "--json"]).await.exits(0).json();
    let same = |state: &Value| state["position"] == replay["position"];
    for server in servers {
        let state = server.until("/v1/engines/default/state", same).await;
        for field in ["state_digest", "chain_hash"] {
            assert_eq!(replay[field], state[field], "{field}: {replay}");
        }
    }
    env.run(&["replay", "--engine", "default", "--verify"]).await.exits(0);
    env.run(&["audit", "verify"]).await.exits(0);
}
