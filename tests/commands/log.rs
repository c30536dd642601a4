//! Event logs made by real steps, and rewritten as an attacker with database access and the hash function
//! could.

use std::sync::Arc;

use mlsdm::{
    domain::{
        command::{ChangePolicy, Intervene},
        event::Usage,
        ids::{EngineId, Position, SubjectRef},
        policy::Policy,
    },
    embed::Embedder,
    engine::{Caller, Engine, Engines, Parts, Settings, StepRequest, step},
    lifecycle::Tasks,
    llm::{Llm, LlmError, Reply},
    store::{Content, EngineRow, Options, Record, Store, SubjectRow, chain, keys::ContentKey},
    testkit::{CONTENT_KEY, TestDatabase},
};
use serde_json::Value;
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Words that make the model fail.
pub(crate) const BREAK: &str = "break down";

/// Engines of a process of their own.
pub(crate) struct Process {
    pub(crate) engines: Engines,
    pub(crate) tasks: Tasks,
}

impl Process {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        let store = Store::open(&Options::new(database.url())).await.unwrap();
        store.migrate().await.unwrap();
        let content_key = Arc::new(ContentKey::from_text(CONTENT_KEY).unwrap());
        let (embedder, metrics) = (Embedder::default(), Arc::default());
        let replica = store.replica();
        let parts = Parts { store, replica, content_key, llm: model(), embedder, metrics };
        let tasks = Tasks::new(Handle::current());
        let engines = Engines::new(parts, Settings::default(), tasks.clone());
        Self { engines, tasks }
    }

    /// The default engine with this policy.
    pub(crate) async fn default(&self, policy: &Policy) -> Arc<Engine> {
        self.engines.ensure_default(policy).await.unwrap();
        self.engines.get(&EngineId::default()).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.engines.unload_all();
        let store = self.engines.parts().store.clone();
        drop(self.engines);
        assert!(self.tasks.wait(std::time::Duration::from_secs(10)).await);
        store.close().await;
    }
}

fn model() -> Llm {
    Llm::function(Arc::new(|request| {
        let prompt = request.prompt;
        Box::pin(async move {
            if prompt.contains(BREAK) {
                return Err(LlmError::Unavailable { code: "scripted" });
            }
            Ok(Reply {
                text: format!("Here is a sure and long enough answer to all of that: {prompt}"),
                model: "scripted".to_owned(),
                finish_reason: "stop".to_owned(),
                usage: Usage::new(7, 11),
            })
        })
    }))
}

/// Runs one step; its outcome is in the log.
pub(crate) async fn say(engine: &Engine, who: &str, prompt: &str, moral_value: f64) {
    let caller = Caller {
        actor: who.to_owned(),
        end_user: None,
        id: format!("req-{prompt}"),
        client_request_id: None,
        trace_id: None,
        route: "/v1/generate".to_owned(),
        idempotency_key: None,
        may_assert: true,
        auth: None,
        key_limit: None,
        lease: None,
    };
    let request = StepRequest {
        prompt: prompt.into(),
        moral_value: Some(moral_value),
        max_tokens: Some(100.into()),
        ..StepRequest::default()
    };
    // a failure is an outcome too
    drop(step::run(engine, &caller, &request, None, &CancellationToken::new()).await);
}

/// A log with every event type that is decided, some steps at the same time.
pub(crate) async fn eventful(database: &TestDatabase) {
    let process = Process::start(database).await;
    let mut policy = Policy { capacity: 12, ..Policy::default() };
    let engine = process.default(&policy).await;
    for n in 0..40 {
        let moral_value = if n % 7 == 3 { 0.1 } else { 0.9 };
        let prompt = if n % 9 == 4 { format!("{BREAK} {n}") } else { format!("My dog {n} is Rex") };
        say(&engine, ["ann", "bob", "cleo"][n % 3], &prompt, moral_value).await;
    }
    let act = || Intervene { actor: "root".to_owned(), reason: "a drill".to_owned() };
    engine.shutdown(act()).await.unwrap();
    engine.resume(act()).await.unwrap();
    policy.capacity = 5;
    let change = ChangePolicy {
        policy,
        actor: "root".to_owned(),
        reason: "smaller".to_owned(),
        config: None,
        evidence: None,
    };
    engine.change_policy(change).await.unwrap();
    crowd(&engine, 40).await;
    drop(engine);
    process.stop().await;
}

/// Steps at the same time, so that they share transactions.
pub(crate) async fn crowd(engine: &Arc<Engine>, steps: usize) {
    let mut crowd = JoinSet::new();
    for n in 0..steps {
        let engine = Arc::clone(engine);
        crowd.spawn(async move {
            say(&engine, ["ann", "bob"][n % 2], &format!("The cat of house {n}"), 0.8).await;
        });
        if crowd.len() >= 64 {
            crowd.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = crowd.join_next().await {
        done.unwrap();
    }
}

/// A whole log in memory.
#[derive(Clone)]
pub(crate) struct Copy {
    pub(crate) engine: EngineRow,
    pub(crate) rows: Vec<(Record, Option<Content>)>,
    pub(crate) subjects: Vec<SubjectRow>,
}

impl Copy {
    pub(crate) async fn of(database: &TestDatabase) -> Self {
        let store = Store::open_read_only(&Options::new(database.url())).await.unwrap();
        let id = EngineId::default();
        let engine = store.engine(&id).await.unwrap().unwrap();
        let rows = store.read_for_audit(&id, 0, 100_000).await.unwrap();
        let mut refs: Vec<SubjectRef> = rows.iter().filter_map(|(r, _)| r.subject_ref).collect();
        refs.sort_unstable();
        refs.dedup();
        let subjects = store.subjects_by_ref(&id, &refs).await.unwrap();
        store.close().await;
        Self { engine, rows, subjects }
    }

    /// The first event of a type for which a condition holds.
    pub(crate) fn find(&self, kind: &str, holds: impl Fn(&Value) -> bool) -> Position {
        let (record, _) =
            self.rows.iter().find(|(r, _)| r.kind == kind && holds(&clear(r))).unwrap();
        record.position
    }

    /// Changes a field of an event's payload.
    pub(crate) fn set(&mut self, position: Position, pointer: &str, value: Value) {
        let record = &mut self.rows[position as usize - 1].0;
        let mut json = clear(record);
        *json.pointer_mut(pointer).unwrap() = value;
        record.payload = serde_json::to_vec(&json).unwrap();
    }

    /// Writes the log into an empty database with positions, hashes and MACs that fit it.
    pub(crate) async fn write(mut self) -> TestDatabase {
        let database = TestDatabase::sqlite();
        let store = Store::open(&Options::new(database.url())).await.unwrap();
        store.migrate().await.unwrap();
        let id = &self.engine.engine_id;
        let key = store.mac_key(&ContentKey::from_text(CONTENT_KEY).unwrap()).await.unwrap();
        let mut chain_hash = chain::genesis(id);
        for (index, (record, content)) in self.rows.iter_mut().enumerate() {
            record.position = index as Position + 1;
            record.content_hash = match content {
                Some(content) => {
                    Some(chain::content_hash(&content.sealed, content.vector.as_deref()))
                }
                None => record.content_hash,
            };
            chain::extend(id, chain_hash, Some(&key), record);
            chain_hash = record.chain_hash;
        }
        let (first, rest) = self.rows.split_first().unwrap();
        store.create_engine(&self.engine, &first.0, None).await.unwrap();
        let mut append = store.begin(id).await.unwrap();
        append.insert_subjects(&self.subjects).await.unwrap();
        for page in rest.chunks(200) {
            let contents = page.iter().filter_map(|(r, c)| Some((r.position, c.clone()?)));
            append.insert_contents(&contents.collect::<Vec<_>>()).await.unwrap();
            let records: Vec<_> = page.iter().map(|(record, _)| record.clone()).collect();
            append.insert_events(&records).await.unwrap();
        }
        append.commit().await.unwrap();
        store.close().await;
        database
    }
}

/// An event's payload.
pub(crate) fn clear(record: &Record) -> Value {
    serde_json::from_slice(&record.payload).unwrap()
}
