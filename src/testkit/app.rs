//! Engines in the process of the test, with a scripted model, a clock that the test advances,
//! injected faults and a database that survives a restart.
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

use super::{Backend, CONTENT_KEY, DEADLINE, START, TestDatabase};
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

/// The answer of the model after its script has ended: confident and long enough to be remembered.
pub const NOTED: &str = "That is noted and it will be kept in mind from now on, thank you.";

/// The reaction of the model to one request.
#[derive(Clone)]
pub enum Reaction {
    /// It answers.
    Say(String),
    /// It fails.
    Fail(LlmError),
    /// It never answers.
    Hang,
    /// It answers once the test notifies it.
    SayAfter(Arc<Notify>, String),
}

/// A model that follows a script and records its requests.
pub struct ScriptedModel {
    script: Mutex<VecDeque<Reaction>>,
    requests: Mutex<Vec<Request>>,
    asked: watch::Sender<usize>,
}

impl ScriptedModel {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::default(),
            requests: Mutex::default(),
            asked: watch::Sender::new(0),
        })
    }

    /// Appends reactions to the script. After the last of them the model answers [`NOTED`].
    pub fn script(&self, reactions: impl IntoIterator<Item = Reaction>) {
        lock(&self.script).extend(reactions);
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }

    /// Waits until it has received at least `times` requests.
    pub async fn asked(&self, times: usize) {
        // an error would mean that the sender is gone, and `self` owns it
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
    let usage = Usage::new(7, 11);
    Reply { text, model: "scripted-1".to_owned(), finish_reason: "stop".to_owned(), usage }
}

/// The configuration of the engines.
#[derive(Clone, Default)]
pub struct TestSetup {
    /// The policy of new engines.
    pub policy: Policy,
    /// The settings of all engines.
    pub settings: Settings,
    /// The embedder of all engines.
    pub embedder: Embedder,
}

/// A wall clock and a monotonic clock that the test controls; clones share them.
#[derive(Clone, Default)]
struct TestClock(Arc<Times>);

#[derive(Default)]
struct Times {
    passed: AtomicI64,
    set_back: AtomicI64,
}

impl TestClock {
    fn monotonic(&self) -> Micros {
        self.0.passed.load(Ordering::Relaxed)
    }

    fn wall(&self) -> Micros {
        START + self.monotonic() - self.0.set_back.load(Ordering::Relaxed)
    }
}

const fn micros(time: Duration) -> Micros {
    time.as_micros() as Micros
}

/// The engines of one process with everything they need.
pub struct TestApp {
    database: Arc<TestDatabase>,
    clock: TestClock,
    setup: TestSetup,
    /// The model that answers all prompts.
    pub model: Arc<ScriptedModel>,
    /// The engines.
    pub engines: Engines,
    /// The faults to inject into appends.
    pub faults: Arc<Faults>,
    tasks: Tasks,
}

impl TestApp {
    /// An app on a new database of this kind with the default setup.
    pub async fn on(backend: Backend) -> Self {
        Self::on_with(backend, TestSetup::default()).await
    }

    /// An app on a new SQLite database with the default setup.
    pub async fn sqlite() -> Self {
        Self::on(Backend::Sqlite).await
    }

    /// An app on a new SQLite database.
    pub async fn sqlite_with(setup: TestSetup) -> Self {
        Self::on_with(Backend::Sqlite, setup).await
    }

    /// An app on a new PostgreSQL database with the default setup.
    pub async fn postgres() -> Self {
        Self::on(Backend::Postgres).await
    }

    /// An app on a new PostgreSQL database.
    pub async fn postgres_with(setup: TestSetup) -> Self {
        Self::on_with(Backend::Postgres, setup).await
    }

    async fn on_with(backend: Backend, setup: TestSetup) -> Self {
        let database = TestDatabase::on(backend).await;
        let clock = TestClock::default();
        let app = Self::open(Arc::new(database), clock, setup).await;
        let policy = app.setup.policy.clone();
        app.engines.ensure_default(&policy).await.expect("the default engine");
        app
    }

    async fn open(database: Arc<TestDatabase>, clock: TestClock, setup: TestSetup) -> Self {
        let (wall, monotonic, faults) = (clock.clone(), clock.clone(), Faults::none());
        let options = Options {
            clock: Some(Arc::new(move || wall.wall())),
            monotonic: Some(Arc::new(move || monotonic.monotonic())),
            hooks: Hooks::new(&faults),
            max_connections: 4,
            ..Options::new(database.url())
        };
        let store = Store::open(&options).await.expect("the database opens");
        store.migrate().await.expect("the tables are made");
        let content_key = ContentKey::from_text(CONTENT_KEY).expect("a key");
        let model = ScriptedModel::new();
        let asked = Arc::clone(&model);
        let parts = Parts {
            replica: options.replica,
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

    /// Stops the engines and opens them again on the same database, as a new process would.
    pub async fn restart(self) -> Self {
        let setup = self.setup.clone();
        self.restart_with(setup).await
    }

    /// Restarts with another setup.
    pub async fn restart_with(self, setup: TestSetup) -> Self {
        let (database, clock) = self.close().await;
        Self::open(database, clock, setup).await
    }

    /// Stops everything but the database and the clock.
    async fn close(self) -> (Arc<TestDatabase>, TestClock) {
        self.tasks.stop().begin();
        self.engines.unload_all();
        assert!(self.tasks.wait(DEADLINE).await, "a task is still running");
        self.engines.parts().store.close().await;
        (self.database, self.clock)
    }

    /// A second app on the same PostgreSQL database and the same clock.
    pub async fn replica(&self) -> Self {
        self.replica_with(self.setup.clone()).await
    }

    /// A second app with another setup.
    pub async fn replica_with(&self, setup: TestSetup) -> Self {
        let (database, clock) = (Arc::clone(&self.database), self.clock.clone());
        Self::open(database, clock, setup).await
    }

    /// Sets the wall clock back; the time that passes is not affected.
    pub fn set_clock_back(&self, time: Duration) {
        self.clock.0.set_back.fetch_add(micros(time), Ordering::Relaxed);
    }

    /// Sets the wall clock ahead; the time that passes is not affected.
    pub fn set_clock_ahead(&self, time: Duration) {
        self.clock.0.set_back.fetch_sub(micros(time), Ordering::Relaxed);
    }

    /// Advances the clock.
    pub fn pass(&self, time: Duration) {
        self.clock.0.passed.fetch_add(micros(time), Ordering::Relaxed);
    }

    /// The default engine.
    pub async fn engine(&self) -> Arc<Engine> {
        self.engines.get(&EngineId::default()).await.expect("the default engine loads")
    }

    /// The database.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Runs a step of the default engine as the HTTP API does.
    pub async fn ask(&self, who: &str, prompt: &str) -> Result<StepResponse, StepError> {
        self.send(caller(who), generate(prompt)).await
    }

    /// Runs a step of the default engine with any request.
    pub async fn send(
        &self,
        caller: Caller,
        request: StepRequest,
    ) -> Result<StepResponse, StepError> {
        self.engine().await.start(&self.tasks, caller, request, None).response().await
    }

    /// The position and the digest of the default engine's state.
    pub async fn digest(&self) -> (Position, Sha256) {
        let view = self.engine().await.view();
        (view.state.position, digest::state(&view.state))
    }

    /// The events of the default engine.
    pub async fn log(&self) -> Vec<Record> {
        let store = &self.engines.parts().store;
        store.read(&EngineId::default(), 0, 10_000).await.expect("the log can be read")
    }

    /// The types of the default engine's events.
    pub async fn kinds(&self) -> Vec<String> {
        self.log().await.into_iter().map(|record| record.kind).collect()
    }
}

/// A caller who acts for no other end user.
pub fn caller(who: &str) -> Caller {
    Caller {
        actor: who.to_owned(),
        end_user: None,
        id: crate::ids::request_id(),
        client_request_id: None,
        trace_id: None,
        route: "/v1/generate".to_owned(),
        idempotency_key: None,
        may_assert: true,
        auth: None,
        key_limit: None,
        lease: None,
    }
}

/// A request that passes the moral filter.
pub fn generate(prompt: &str) -> StepRequest {
    StepRequest { prompt: prompt.into(), moral_value: Some(0.9), ..StepRequest::default() }
}
