//! A database with writers on it, one for each replica, a clock that tests set and faults that they plan.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::Poll,
};

use mlsdm::{
    domain::{
        command::{Admit, Command, Complete, Fail},
        digest,
        event::{ContextUse, Event, FailStage, Latency, Usage},
        ids::{EngineId, Micros, Position},
        policy::Policy,
        vector::UnitVector,
    },
    embed::Embedder,
    engine::{Engines, Parts, Settings},
    ids,
    lifecycle::Tasks,
    llm::{Llm, Stub},
    store::{
        Content, Options, Record, Store,
        faults::{Faults, Hooks},
        keys::{Column, ContentKey},
        metrics::EventMetrics,
        replay,
        state_fold::StateFold,
        subject::{Directory, Subject},
        writer::{
            Actor, Claim, Committed, Limits, Outcome, Proposal, Sealed, WriteError, Writer,
            prompt_hmac, writer,
        },
    },
    testkit::{Backend, CONTENT_KEY, START, TestDatabase},
};
use tokio::task::JoinSet;

pub(super) const DIMENSION: usize = 8;

/// Timeout of a test's step with its grace period, in microseconds.
pub(super) const DEADLINE: Micros = 60_000_000;

/// A database with one engine.
pub(super) struct TestLog {
    pub(super) database: TestDatabase,
    pub(super) engine: EngineId,
    pub(super) key: Arc<ContentKey>,
    clock: Arc<AtomicI64>,
    ticks: Arc<AtomicI64>,
    store: Store,
}

/// A writer on a [`TestLog`].
pub(super) struct TestReplica {
    pub(super) store: Store,
    pub(super) writer: Writer,
    pub(super) faults: Arc<Faults>,
    directory: Arc<Directory>,
    task: JoinSet<()>,
}

/// A prompt, its subject and its idempotency key.
#[derive(Clone, Default)]
pub(super) struct Prompt<'a> {
    pub(super) by: &'a str,
    pub(super) text: &'a str,
    pub(super) key: Option<&'a str>,
}

impl TestLog {
    pub(super) async fn postgres() -> Self {
        Self::on(Backend::Postgres).await
    }

    pub(super) async fn on(backend: Backend) -> Self {
        let database = TestDatabase::on(backend).await;
        let clock = Arc::new(AtomicI64::new(START));
        let ticks = Arc::new(AtomicI64::new(0));
        let store =
            Store::open(&options(&database, &clock, &ticks, &Faults::none())).await.unwrap();
        store.migrate().await.unwrap();
        database.distribute().await;
        let key = Arc::new(ContentKey::from_text(CONTENT_KEY).unwrap());
        let engine = EngineId::default();
        create_engine(&store, &key, &engine).await;
        Self { database, engine, key, clock, ticks, store }
    }

    /// From now on the clock moves whenever it is read.
    pub(super) fn tick(&self) {
        self.ticks.store(1, Ordering::Relaxed);
    }

    pub(super) fn pass(&self, time: Micros) {
        self.clock.fetch_add(time, Ordering::Relaxed);
    }

    pub(super) async fn replica(&self) -> TestReplica {
        self.replica_with(Limits::default(), &self.clock).await
    }

    pub(super) async fn limited(&self, limits: Limits) -> TestReplica {
        self.replica_with(limits, &self.clock).await
    }

    /// A replica with a clock of its own.
    pub(super) async fn with_clock(&self, at: Micros) -> TestReplica {
        let clock = Arc::new(AtomicI64::new(at));
        self.replica_with(Limits::default(), &clock).await
    }

    /// SQLite allows one owner: its only replica takes over the file.
    async fn replica_with(&self, limits: Limits, clock: &Arc<AtomicI64>) -> TestReplica {
        if self.store.has_one_owner() {
            self.store.close().await;
        }
        let faults = Faults::none();
        let options = options(&self.database, clock, &self.ticks, &faults);
        let store = Store::open(&options).await.unwrap();
        let row = store.engine(&self.engine).await.unwrap().unwrap();
        let (index_key, _) = self.key.unwrap_index_key(&row).unwrap();
        let (id, key) = (self.engine.clone(), Arc::clone(&self.key));
        let directory = Arc::new(Directory::new(id.clone(), key, index_key));
        let folder = self.replay(&store).await;
        let made =
            writer(id, store.clone(), Arc::clone(&directory), (folder, None), limits).unwrap();
        let (writer, writing) = made;
        let task = JoinSet::from_iter([writing
            .with_metrics(Arc::new(EventMetrics::of_one_engine()))
            .run()]);
        TestReplica { store, writer, faults, directory, task }
    }

    pub(super) async fn replay(&self, store: &Store) -> StateFold {
        let end = Position::MAX;
        replay::replay(store, &self.key, &self.engine, end, &mut |_| {}).await.unwrap()
    }

    /// The published state is the fold of the log.
    pub(super) async fn assert_replays(&self, replica: &TestReplica) {
        let fresh = self.replay(&replica.store).await;
        let (view, state) = (replica.writer.view(), fresh.state.unwrap());
        assert_eq!((view.state.position, view.chain_hash), (state.position, fresh.chain_hash));
        assert_eq!(digest::state(&view.state), digest::state(&state));
        let traces = |traces| digest::traces(traces);
        assert_eq!(traces(view.state.traces.as_ref()), traces(state.traces.as_ref()));
    }

    /// The whole log.
    pub(super) async fn log(&self, replica: &TestReplica) -> Vec<Record> {
        replica.store.read(&self.engine, 0, 10_000).await.unwrap()
    }
}

/// Creates an engine as a server does.
pub(crate) async fn create_engine(store: &Store, key: &Arc<ContentKey>, engine: &EngineId) {
    let parts = Parts {
        store: store.clone(),
        replica: store.replica(),
        content_key: Arc::clone(key),
        llm: Llm::stub(Stub::default()),
        embedder: Embedder::default(),
        metrics: Arc::default(),
    };
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let engines = Engines::new(parts, Settings::default(), tasks);
    let policy = Policy { dimension: DIMENSION, capacity: 40, ..Policy::default() };
    engines.create(engine, policy, None, "test").await.unwrap();
}

fn options(
    database: &TestDatabase,
    clock: &Arc<AtomicI64>,
    ticks: &Arc<AtomicI64>,
    faults: &Arc<Faults>,
) -> Options {
    let (clock, ticks) = (Arc::clone(clock), Arc::clone(ticks));
    let now = move || clock.fetch_add(ticks.load(Ordering::Relaxed), Ordering::Relaxed);
    Options {
        clock: Some(Arc::new(now)),
        hooks: Hooks::new(faults),
        max_connections: 4,
        ..Options::new(database.url())
    }
}

impl TestReplica {
    /// The subject of that name, as a step finds or makes it.
    pub(super) async fn subject(&self, engine: &EngineId, name: &str) -> Arc<Subject> {
        let hmac = self.directory.name_hmac(name);
        if let Some(known) = self.directory.get(&hmac) {
            return known;
        }
        match self.store.subject_by_name(engine, &hmac).await.unwrap() {
            Some(row) => Arc::new(self.directory.open(&row).unwrap()),
            None => Arc::new(self.directory.make(name, ids::subject_ref()).unwrap()),
        }
    }

    pub(super) async fn admission(&self, fixture: &TestLog, prompt: Prompt<'_>) -> Proposal {
        admission(&self.subject(&fixture.engine, prompt.by).await, &prompt)
    }

    pub(super) async fn admit(
        &self,
        fixture: &TestLog,
        prompt: Prompt<'_>,
    ) -> Result<Outcome, WriteError> {
        let proposal = self.admission(fixture, prompt).await;
        self.writer.propose(proposal).await
    }

    /// The completion of an admitted step.
    #[expect(clippy::unused_self, reason = "reads like the fixture's other proposals")]
    pub(super) fn completion(&self, admitted: &Committed, text: &str) -> Proposal {
        let (subject, step) = (admitted.subject.clone().unwrap(), step_of(admitted));
        let command_id = ids::command_id();
        let vector = vector(step);
        let seal = |column, plain: &[u8]| subject.key.seal(command_id, column, plain).unwrap();
        let content = Content {
            sealed: seal(Column::Text, text.as_bytes()),
            vector: Some(seal(Column::Vector, &vector.to_bytes())),
        };
        let complete = Complete {
            step,
            provider: "test".to_owned(),
            model: "test-1".to_owned(),
            usage: Usage::default(),
            finish_reason: "stop".to_owned(),
            latency: Latency::default(),
            attempts: 1,
            calls: Vec::new(),
            price: None,
            context: ContextUse::default(),
            confidence: 0.8,
            looping: false,
            cut: false,
            forgo: None,
            vector: Some(vector),
        };
        Proposal {
            content: Some(Sealed::new(content)),
            actor: Actor::Subject(Arc::clone(&subject)),
            subject: Some(subject),
            ends_claim: true,
            ..Proposal::of_engine(command_id, Command::Complete(Box::new(complete)), Actor::Server)
        }
    }

    #[expect(clippy::unused_self, reason = "reads like the fixture's other proposals")]
    pub(super) fn failure(&self, admitted: &Committed, stage: FailStage) -> Proposal {
        failure(admitted, stage)
    }

    /// Admits and completes a step.
    pub(super) async fn step(&self, fixture: &TestLog, by: &str, text: &str) -> Committed {
        let prompt = Prompt { by, text, key: None };
        let admitted = committed(self.admit(fixture, prompt).await);
        committed(self.writer.propose(self.completion(&admitted, "an answer")).await)
    }

    /// The writer and the task that runs it.
    pub(super) fn into_parts(self) -> (Writer, JoinSet<()>) {
        (self.writer, self.task)
    }

    /// Submits proposals so that the writer finds all of them at once; returns their outcomes.
    pub(super) async fn together(
        &self,
        proposals: Vec<Proposal>,
    ) -> Vec<Result<Outcome, WriteError>> {
        self.faults.hold();
        let begun = self.faults.begun();
        // keeps the writer busy until all wait; it records nothing
        let plug = started(self.writer.propose(nothing_to_do())).await;
        self.faults.begun_after(begun).await;
        let mut waiting = Vec::new();
        for proposal in proposals {
            let writer = self.writer.clone();
            waiting.push(started(async move { writer.propose(proposal).await }).await);
        }
        self.faults.release();
        plug.await.unwrap();
        let mut outcomes = Vec::new();
        for waiting in waiting {
            outcomes.push(waiting.await);
        }
        outcomes
    }
}

/// The admission of a step of this subject.
pub(super) fn admission(subject: &Arc<Subject>, prompt: &Prompt<'_>) -> Proposal {
    let command_id = ids::command_id();
    let digest = fake_digest(prompt.text);
    let admit = Admit {
        caller_score: Some(0.9),
        route: "/v1/generate".to_owned(),
        prompt_chars: prompt.text.chars().count(),
        prompt_tokens: Some(3),
        prompt_hmac: prompt_hmac(&subject.key, &digest),
        timeout: DEADLINE / 2,
        grace: DEADLINE / 2,
        ..Admit::of(subject.subject_ref)
    };
    let sealed = subject.key.seal(command_id, Column::Text, prompt.text.as_bytes()).unwrap();
    let claim = prompt.key.map(|key| Claim {
        route: "/v1/generate".to_owned(),
        key: key.to_owned(),
        body_digest: digest,
    });
    Proposal {
        content: Some(Sealed::new(Content { sealed, vector: None })),
        actor: Actor::Subject(Arc::clone(subject)),
        subject: Some(Arc::clone(subject)),
        prompt_digest: Some(digest),
        claim,
        ..Proposal::of_engine(command_id, Command::Admit(Box::new(admit)), Actor::Server)
    }
}

/// The ending of an admitted step by a failure.
pub(super) fn failure(admitted: &Committed, stage: FailStage) -> Proposal {
    let fail = Fail { attempts: 1, ..Fail::new(step_of(admitted), stage, "test".to_owned(), 0.0) };
    Proposal {
        subject: admitted.subject.clone(),
        ends_claim: true,
        ..Proposal::of_engine(ids::command_id(), Command::Fail(Box::new(fail)), Actor::Server)
    }
}

/// Runs a future until it waits for the first time.
pub(super) async fn started<'a, F: Future + 'a>(
    future: F,
) -> std::pin::Pin<Box<dyn Future<Output = F::Output> + 'a>> {
    let mut future = Box::pin(future);
    let ready = std::future::poll_fn(|context| {
        Poll::Ready(match pin!(&mut future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    });
    match ready.await {
        Some(output) => Box::pin(std::future::ready(output)),
        None => future,
    }
}

/// A command without effect.
pub(super) fn nothing_to_do() -> Proposal {
    let act = mlsdm::domain::command::Intervene { actor: "test".into(), reason: "none".into() };
    Proposal::of_engine(ids::command_id(), Command::Resume(act), Actor::Server)
}

/// Replaces SHA-256 in tests.
pub(super) fn fake_digest(text: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    for (i, byte) in text.bytes().enumerate() {
        digest[i % 32] ^= byte.rotate_left(i as u32 / 32);
    }
    digest
}

pub(super) fn vector(seed: u64) -> UnitVector {
    let values: Vec<f32> =
        (0..DIMENSION).map(|i| ((seed * 31 + i as u64 * 7) % 17) as f32 - 8.5).collect();
    UnitVector::normalise(&values, DIMENSION).unwrap()
}

pub(super) fn committed(outcome: Result<Outcome, WriteError>) -> Committed {
    match outcome.unwrap() {
        Outcome::Committed(committed) => committed,
        Outcome::Duplicate(earlier) => panic!("a duplicate of step {}", earlier.step),
    }
}

pub(super) fn step_of(committed: &Committed) -> u64 {
    committed.events[0].0.step.unwrap()
}

pub(super) fn is_admitted(committed: &Committed) -> bool {
    matches!(committed.events[0].1, Event::StepAdmitted(_))
}
