//! Closed-loop clients that pick a replica at random and record every call.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use mlsdm::testkit::{DEADLINE, Random, http_client};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{call::Call, send};

/// Pause of a client after a failed call.
const BACK_OFF: Duration = Duration::from_millis(20);
/// Maximum number of calls with the same idempotency key, one after another.
const RETRIES_MAX: usize = 6;
/// Pause before a retry, and its random part.
const RETRY_MS: u64 = 50;
/// A client that leaves does so within this time.
const LEAVES_MS_MAX: u64 = 80;
/// One of this many prompts has a score that the moral filter rejects.
const REJECTED_EVERY: u64 = 4;
/// Number of end users.
const END_USERS: u64 = 16;

/// A replica as clients see it. Its address changes when it is started again.
#[derive(Debug, Default)]
pub(crate) struct Target {
    base: Mutex<String>,
    pub(crate) process: AtomicU32,
}

impl Target {
    pub(crate) fn base(&self) -> String {
        self.base.lock().unwrap().clone()
    }

    pub(crate) fn set(&self, base: &str, process: u32) {
        base.clone_into(&mut self.base.lock().unwrap());
        self.process.store(process, Ordering::Relaxed);
    }
}

/// The numbers of calls so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
}

/// What all clients of a run share.
pub(crate) struct Shared {
    pub(crate) http: reqwest::Client,
    pub(crate) targets: Arc<Vec<Target>>,
    /// The time after which a client gives up.
    pub(crate) patience: Duration,
    next: AtomicU64,
    stopped: AtomicBool,
    counts: watch::Sender<Counts>,
}

/// A request before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    pub(crate) prompt: u64,
    pub(crate) end_user: u64,
    pub(crate) accepted: bool,
    pub(crate) key: Option<String>,
    pub(crate) streamed: bool,
    pub(crate) leaves_after: Option<Duration>,
    pub(crate) replica: usize,
}

/// Running clients.
pub(crate) struct Load {
    clients: JoinSet<Vec<Call>>,
    shared: Arc<Shared>,
}

impl Load {
    /// Starts clients that call until they are stopped.
    pub(crate) fn start(
        targets: &Arc<Vec<Target>>,
        clients: u64,
        patience: Duration,
        seed: u64,
    ) -> Self {
        let shared = Arc::new(Shared {
            http: http_client(),
            targets: Arc::clone(targets),
            patience,
            next: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
            counts: watch::Sender::new(Counts::default()),
        });
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let client = Client { shared: Arc::clone(&shared), random: Random::new(seed, number) };
            tasks.spawn(client.run());
        }
        Self { clients: tasks, shared }
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until the counts are as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(Counts) -> bool) {
        let reached = self.reaches(wanted, DEADLINE).await;
        assert!(reached, "stuck at {:?}", self.counts());
    }

    /// Waits until the counts are as wanted. False if they are not within this time.
    pub(crate) async fn reaches(&self, wanted: impl Fn(Counts) -> bool, within: Duration) -> bool {
        let mut counts = self.shared.counts.subscribe();
        timeout(within, counts.wait_for(|counts| wanted(*counts))).await.is_ok()
    }

    /// Lets the clients finish their calls and gives all calls.
    pub(crate) async fn stop(self) -> Vec<Call> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

struct Client {
    shared: Arc<Shared>,
    random: Random,
}

impl Client {
    async fn run(mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        while !self.shared.stopped.load(Ordering::Relaxed) {
            let plan = self.plan();
            let done = match self.random.below(100) {
                0..35 => vec![self.call(plan).await],
                35..55 => self.retry(plan).await,
                55..65 => self.at_once(plan).await,
                65..85 => vec![self.call(Plan { streamed: true, ..plan }).await],
                _ => {
                    let after = Duration::from_millis(self.random.below(LEAVES_MS_MAX));
                    let streamed = self.random.below(2) == 0;
                    let plan = Plan { leaves_after: Some(after), streamed, ..plan };
                    vec![self.call(plan).await]
                }
            };
            let failed = done.last().is_some_and(Call::failed);
            calls.extend(done);
            if failed {
                tokio::time::sleep(BACK_OFF).await;
            }
        }
        calls
    }

    fn plan(&mut self) -> Plan {
        let number = self.number();
        Plan {
            number,
            prompt: number,
            end_user: self.random.below(END_USERS),
            accepted: self.random.below(REJECTED_EVERY) != 0,
            key: None,
            streamed: false,
            leaves_after: None,
            replica: self.replica(),
        }
    }

    fn number(&self) -> u64 {
        self.shared.next.fetch_add(1, Ordering::Relaxed)
    }

    fn replica(&mut self) -> usize {
        self.random.below(self.shared.targets.len() as u64) as usize
    }

    async fn call(&self, plan: Plan) -> Call {
        let call = send::send(&self.shared, plan).await;
        self.shared.counts.send_modify(|counts| {
            counts.answered += u64::from(call.receipt().is_some());
            counts.failed += u64::from(call.failed());
        });
        call
    }

    /// Repeats a request with an idempotency key until it is answered.
    async fn retry(&mut self, plan: Plan) -> Vec<Call> {
        let key = Some(format!("key-{}", plan.prompt));
        let mut calls = Vec::new();
        for _ in 0..RETRIES_MAX {
            let (number, replica) = (self.number(), self.replica());
            let plan = Plan { number, replica, key: key.clone(), ..plan.clone() };
            calls.push(self.call(plan).await);
            // one retry in ten follows an answer, and has to get the same one
            let again = self.random.below(10) == 0;
            if calls.last().is_some_and(|call| call.receipt().is_some()) && !again {
                break;
            }
            let pause = RETRY_MS + self.random.below(RETRY_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        calls
    }

    /// Sends a request with an idempotency key three times at once.
    async fn at_once(&mut self, plan: Plan) -> Vec<Call> {
        let key = Some(format!("key-{}", plan.prompt));
        let mut plans = Vec::new();
        for _ in 0..3 {
            let (number, replica) = (self.number(), self.replica());
            plans.push(Plan { number, replica, key: key.clone(), ..plan.clone() });
        }
        join_all(plans.into_iter().map(|plan| self.call(plan))).await
    }
}

/// The time since an instant, and the instant now.
pub(crate) fn lap(since: Instant) -> (Duration, Instant) {
    let now = Instant::now();
    (now - since, now)
}
