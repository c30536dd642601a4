//! A rolling upgrade of three replicas under load, with a way back before its end.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use mlsdm::testkit::{TestDatabase, TestServer, eventually, http_client};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Versions, is_refused, log_formats};
use crate::history::{History, equals_replay, verifies};

const REPLICAS: usize = 3;
const CLIENTS: usize = 8;

/// Answered requests between two changes of the replicas.
const BETWEEN: u64 = 100;

/// Clients behind a load balancer that knows the running replicas: a request without an answer is sent
/// again, with the same idempotency key, to the next one.
struct Clients {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    replicas: Mutex<Vec<String>>,
    stop: AtomicBool,
    answered: AtomicU64,
}

impl Clients {
    fn start(replicas: &[TestServer]) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = Self { tasks: JoinSet::new(), shared };
        clients.balance(replicas);
        for client in 0..CLIENTS {
            clients.tasks.spawn(client_of(Arc::clone(&clients.shared), client));
        }
        clients
    }

    /// Sends further requests to these replicas only.
    fn balance(&self, replicas: &[TestServer]) {
        *self.shared.replicas.lock().unwrap() =
            replicas.iter().map(|replica| replica.base().to_owned()).collect();
    }

    async fn answers(&self, more: u64) {
        let goal = self.shared.answered.load(Ordering::Relaxed) + more;
        let reached = async || {
            let answered = self.shared.answered.load(Ordering::Relaxed);
            if answered >= goal { Ok(()) } else { Err(format!("{answered} of {goal}")) }
        };
        eventually("the next answers", reached).await;
    }

    /// Waits for the running requests; returns the number of all.
    async fn stop(self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        self.shared.answered.load(Ordering::Relaxed)
    }
}

async fn client_of(shared: Arc<Shared>, client: usize) {
    let http = http_client();
    let mut attempt = client;
    for number in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        loop {
            attempt += 1;
            let replica = {
                let replicas = shared.replicas.lock().unwrap();
                replicas[attempt % replicas.len()].clone()
            };
            let request = http
                .post(format!("{replica}/v1/generate"))
                .header("X-MLSDM-End-User", format!("user-{client}"))
                .header("Idempotency-Key", format!("{client}-{number}"))
                .json(&json!({"prompt": format!("Fact {number}"), "moral_value": 0.9}));
            // no answer: the replica stops, or has stopped
            let Ok(response) = request.send().await else { continue };
            if response.status() != 200 {
                continue;
            }
            let Ok(answer) = response.json::<Value>().await else { continue };
            assert_eq!(answer["accepted"], true, "{answer}");
            shared.answered.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
}

/// Replaces the oldest replica.
async fn replace(clients: &Clients, replicas: &mut Vec<TestServer>, by: TestServer) {
    let old = replicas.remove(0);
    replicas.push(by);
    clients.balance(replicas);
    old.stop().await;
    clients.answers(BETWEEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_upgraded_one_by_one_under_load() {
    let database = TestDatabase::postgres().await;
    let versions = Versions::on(database.url());
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(versions.released.serve().await);
    }
    let clients = Clients::start(&replicas);
    clients.answers(BETWEEN).await;
    // forward, and back again
    replace(&clients, &mut replicas, versions.current.serve().await).await;
    let refused = versions.current.run(&["upgrade", "finish"]).await.exits(1);
    assert!(refused.stderr.contains("version 0.1"), "{}", refused.stderr);
    replace(&clients, &mut replicas, versions.current.serve().await).await;
    replace(&clients, &mut replicas, versions.released.serve().await).await;
    verifies(&versions.released, "default").await;
    for _ in 0..REPLICAS {
        replace(&clients, &mut replicas, versions.current.serve().await).await;
    }
    versions.current.run(&["upgrade", "finish"]).await.exits(0);
    clients.answers(2 * BETWEEN).await;
    let steps = clients.stop().await;

    assert!(log_formats(&versions.current).await.iter().all(|format| *format == 2));
    is_refused(&versions).await;
    let history = History::read(&replicas[0], "default").await;
    history.is_whole();
    assert_eq!(history.of("step.failed"), Vec::<&Value>::new(), "no step is lost");
    assert_eq!(history.of("step.completed").len() as u64, steps, "no step is doubled");
    let open = database
        .query_text(
            "SELECT count(*)::text FROM events AS e WHERE mac IS NULL AND position >= (SELECT \
             position FROM events WHERE engine_id = e.engine_id AND type = 'log.format_raised')",
        )
        .await;
    assert_eq!(open, "0", "every event since the raise is authentic");
    for replica in &replicas {
        equals_replay(replica, &versions.current, "default").await;
    }
    verifies(&versions.current, "default").await;
    for replica in replicas {
        replica.stop().await;
    }
}
