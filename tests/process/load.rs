//! A load generator: concurrent clients that record every response.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use mlsdm::testkit::{DEADLINE, TestResponse, TestServer, send};
pub(crate) use mlsdm::testkit::{Random, seed};

/// Pause of a client after an error response.
const BACK_OFF: Duration = Duration::from_millis(20);

/// On average one of this many prompts has a score that the moral filter rejects.
const REJECTED_EVERY: u64 = 10;

/// The number of end users.
const END_USERS: u64 = 16;

/// A request and its outcome.
#[derive(Debug)]
pub(crate) struct SentRequest {
    /// The value of `X-Request-ID`, unique within a test.
    pub(crate) request_id: String,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// 200 and its body.
    Answered(Value),
    /// An error response.
    Refused(TestResponse),
    /// No complete response.
    Lost,
}

impl SentRequest {
    /// The answer, if there is one.
    pub(crate) const fn answer(&self) -> Option<&Value> {
        match &self.outcome {
            Outcome::Answered(body) => Some(body),
            Outcome::Refused(_) | Outcome::Lost => None,
        }
    }
}

/// The numbers of responses so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
}

/// Running clients.
pub(crate) struct Load {
    clients: JoinSet<Vec<SentRequest>>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The number of requests still to be sent.
    left: AtomicU64,
    counts: watch::Sender<Counts>,
}

impl Load {
    /// Starts clients that send `requests` requests in total (`u64::MAX`: until stopped). Each
    /// client uses one of the servers and ends when a request gets no complete response.
    pub(crate) fn start(servers: &[&TestServer], clients: u64, requests: u64, seed: u64) -> Self {
        let counts = watch::Sender::new(Counts::default());
        let shared = Arc::new(Shared { left: AtomicU64::new(requests), counts });
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let server = servers[number as usize % servers.len()];
            let request = server.post("/v1/generate");
            tasks.spawn(client(request, Arc::clone(&shared), Random::new(seed, number)));
        }
        Self { clients: tasks, shared }
    }

    /// Waits until the counts are as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        let reached = timeout(DEADLINE, counts.wait_for(|counts| wanted(*counts))).await;
        reached.unwrap_or_else(|_| panic!("stuck at {:?}", self.counts())).unwrap();
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Sends no further requests, waits for the running ones and gives all outcomes.
    pub(crate) async fn stop(self) -> Vec<SentRequest> {
        self.shared.left.store(0, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits until all requests have been sent and gives all outcomes.
    pub(crate) async fn finish(self) -> Vec<SentRequest> {
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

async fn client(
    request: RequestBuilder,
    shared: Arc<Shared>,
    mut random: Random,
) -> Vec<SentRequest> {
    let mut all = Vec::new();
    let take = |left: u64| left.checked_sub(1);
    while shared.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let sent = ask(request.try_clone().unwrap(), &mut random).await;
        let (answered, refused, lost) = match &sent.outcome {
            Outcome::Answered(_) => (1, 0, false),
            Outcome::Refused(_) => (0, 1, false),
            Outcome::Lost => (0, 0, true),
        };
        all.push(sent);
        shared.counts.send_modify(|counts| {
            counts.answered += answered;
            counts.refused += refused;
        });
        if lost {
            break;
        }
        if refused > 0 {
            tokio::time::sleep(BACK_OFF).await;
        }
    }
    all
}

async fn ask(request: RequestBuilder, random: &mut Random) -> SentRequest {
    let request_id = format!("{:016x}{:016x}", random.next(), random.next());
    let moral_value = if random.below(REJECTED_EVERY) == 0 { 0.1 } else { 0.9 };
    let prompt = format!(
        "Tell me of the garden number {} and what was planted there in the year {}",
        random.below(100),
        random.below(2000)
    );
    let request = request
        .header("X-Request-ID", &request_id)
        .header("X-MLSDM-End-User", format!("user-{}", random.below(END_USERS)))
        .json(&json!({"prompt": prompt, "moral_value": moral_value}));
    let outcome = match send(request).await {
        Err(_) => Outcome::Lost,
        Ok(reply) if reply.status == 200 => Outcome::Answered(reply.body),
        Ok(reply) => Outcome::Refused(reply),
    };
    SentRequest { request_id, outcome }
}
