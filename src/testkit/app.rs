//! The engines of one process, in the test's own: with a scripted model, a clock that the test sets
//! and a database that outlives them.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

use super::{CONTENT_KEY, START, TestDatabase};
use crate::{
    domain::{
        digest,
        event::Usage,
        ids::{EngineId, Micros, Position, Sha256},
        policy::Policy,
    },
    embed::Embedder,
    engine::{Caller, Engine, Engines, Parts, Settings, StepError, StepRequest, StepResponse},
    lifecycle::Tasks,
    llm::{Llm, LlmError, Reply, ReplyFuture, Request},
    store::{
        Options, Record, Store,
        faults::{Faults, Hooks},
        keys::ContentKey,
    },
};

/// What the model says when it has no script: sure of itself, and long enough.
pub const NOTED: &str = "That is noted and it will be kept in mind from now on, thank you.";

/// Longest wait for tasks to end when an app is closed; they end at once unless something hangs.
const CLOSE_MAX: Duration = Duration::from_secs(20);

/// How the model reacts to one request.
#[derive(Clone)]
pub enum Reaction {
    /// It answers.
    Say(String),
    /// It fails.
    Fail(LlmError),
    /// It never answers.
    Hang,
    /// It answers once the test allows.
    SayAfter(Arc<Notify>, String),
}

/// A model that follows a script and remembers what it was asked.
pub struct Model {
    script: Mutex<VecDeque<Reaction>>,
    requests: Mutex<Vec<Request>>,
    asked: watch::Sender<usize>,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::default(),
            requests: Mutex::default(),
            asked: watch::Sender::new(0),
        })
    }

    /// Adds reactions to the script; after the last of them it says [`NOTED`].
    pub fn script(&self, reactions: impl IntoIterator<Item = Reaction>) {
        lock(&self.script).extend(reactions);
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    /// Resolves when it was asked so many times.
    pub async fn asked(&self, times: usize) {
        // the sender lives as long as this borrow
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.ok();
    }

    fn react(&self, request: Request) -> ReplyFuture {
        lock(&self.requests).push(request);
        self.asked.send_modify(|asked| *asked += 1);
        let next = lock(&self.script).pop_front();
        let reaction = next.unwrap_or_else(|| Reaction::Say(NOTED.to_owned()));
        Box::pin(async move {
            match reaction {
                Reaction::Say(text) => Ok(reply(text)),
                Reaction::Fail(error) => Err(error),
                Reaction::Hang => std::future::pending().await,
                Reaction::SayAfter(allowed, text) => {
                    allowed.notified().await;
                    Ok(reply(text))
                }
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reply(text: String) -> Reply {
    let usage = Usage { prompt_tokens: 7, completion_tokens: 11 };
    Reply { text, model: "scripted-1".to_owned(), finish_reason: "stop".to_owned(), usage }
}

/// What engines are run with, and the policy of those created.
#[derive(Clone, Default)]
pub struct Setup {
    /// As configuration gives it.
    pub policy: Policy,
    /// As configuration gives it.
    pub settings: Settings,
    /// What makes vectors.
    pub embedder: Embedder,
}

/// One process, as far as its engines go.
pub struct TestApp {
    database: Arc<TestDatabase>,
    clock: Arc<AtomicI64>,
    setup: Setup,
    /// The model it asks.
    pub model: Arc<Model>,
    /// Its engines.
    pub engines: Engines,
    /// What is to go wrong with its appends.
    pub faults: Arc<Faults>,
    tasks: Tasks,
}

impl TestApp {
    /// Over a new SQLite database.
    pub async fn sqlite() -> Self {
        Self::sqlite_with(Setup::default()).await
    }

    /// Over a new SQLite database.
    pub async fn sqlite_with(setup: Setup) -> Self {
        Self::created(TestDatabase::sqlite(), setup).await
    }

    /// Over a new PostgreSQL database.
    pub async fn postgres() -> Self {
        Self::postgres_with(Setup::default()).await
    }

    /// Over a new PostgreSQL database.
    pub async fn postgres_with(setup: Setup) -> Self {
        Self::created(TestDatabase::postgres().await, setup).await
    }

    async fn created(database: TestDatabase, setup: Setup) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let app = Self::open(Arc::new(database), clock, setup).await;
        let policy = app.setup.policy.clone();
        app.engines.ensure_default(&policy).await.expect("the default engine");
        app
    }

    async fn open(database: Arc<TestDatabase>, clock: Arc<AtomicI64>, setup: Setup) -> Self {
        let (now, faults) = (Arc::clone(&clock), Faults::none());
        let options = Options {
            clock: Some(Arc::new(move || now.load(Ordering::Relaxed))),
            hooks: Hooks::new(&faults),
            max_connections: 4,
            ..Options::new(database.url())
        };
        let store = Store::open(&options).await.expect("the database opens");
        store.migrate().await.expect("the tables are made");
        let content_key = ContentKey::from_text(CONTENT_KEY).expect("a key");
        let model = Model::new();
        let asked = Arc::clone(&model);
        let parts = Parts {
            store,
            content_key: Arc::new(content_key),
            llm: Llm::function(Arc::new(move |request| asked.react(request))),
            embedder: setup.embedder.clone(),
            metrics: Arc::default(),
        };
        let tasks = Tasks::new(Handle::current());
        let engines = Engines::new(parts, setup.settings.clone(), tasks.clone());
        Self { database, clock, setup, model, engines, faults, tasks }
    }

    /// Ends the process and starts it anew on the same database.
    pub async fn restart(self) -> Self {
        let setup = self.setup.clone();
        self.restart_with(setup).await
    }

    /// The same, with another configuration.
    pub async fn restart_with(self, setup: Setup) -> Self {
        let (database, clock) = self.close().await;
        Self::open(database, clock, setup).await
    }

    /// Ends the process; what it leaves is its database.
    async fn close(self) -> (Arc<TestDatabase>, Arc<AtomicI64>) {
        self.tasks.stop().begin();
        self.engines.unload_all();
        assert!(self.tasks.wait(CLOSE_MAX).await, "a task does not end");
        self.engines.parts().store.close().await;
        (self.database, self.clock)
    }

    /// Another process over the same PostgreSQL database.
    pub async fn replica(&self) -> Self {
        self.replica_with(self.setup.clone()).await
    }

    /// The same, with another configuration.
    pub async fn replica_with(&self, setup: Setup) -> Self {
        let (database, clock) = (Arc::clone(&self.database), Arc::clone(&self.clock));
        Self::open(database, clock, setup).await
    }

    /// Sets the log's clock forward.
    pub fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_micros() as Micros, Ordering::Relaxed);
    }

    /// The default engine.
    pub async fn engine(&self) -> Arc<Engine> {
        self.engines.get(&EngineId::default()).await.expect("the default engine loads")
    }

    /// The database it runs on.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Runs a step of the default engine as its server does.
    pub async fn ask(&self, who: &str, prompt: &str) -> Result<StepResponse, StepError> {
        self.send(caller(who), generate(prompt)).await
    }

    /// The same, with everything a request can hold.
    pub async fn send(
        &self,
        caller: Caller,
        request: StepRequest,
    ) -> Result<StepResponse, StepError> {
        self.engine().await.start(&self.tasks, caller, request, None).response().await
    }

    /// The state of the default engine, in one value.
    pub async fn digest(&self) -> (Position, Sha256) {
        let view = self.engine().await.view();
        (view.state.position, digest::state(&view.state))
    }

    /// The log of the default engine.
    pub async fn log(&self) -> Vec<Record> {
        let store = &self.engines.parts().store;
        store.read(&EngineId::default(), 0, 10_000).await.expect("the log can be read")
    }

    /// The types of the log's events.
    pub async fn kinds(&self) -> Vec<String> {
        self.log().await.into_iter().map(|record| record.kind).collect()
    }
}

/// A request of somebody who speaks for himself.
pub fn caller(who: &str) -> Caller {
    Caller {
        actor: who.to_owned(),
        end_user: None,
        request_id: "req-test".to_owned(),
        trace_id: None,
        route: "/v1/generate".to_owned(),
        idempotency_key: None,
        key_limit: None,
    }
}

/// A harmless request.
pub fn generate(prompt: &str) -> StepRequest {
    StepRequest { prompt: prompt.to_owned(), moral_value: Some(0.9), ..StepRequest::default() }
}
