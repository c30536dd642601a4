//! The imperative shell: engines in memory, and the use cases over them.
//!
//! An engine is a folded state, the writer that appends to its log, and the parts a step needs: a
//! model, an embedder, the keys of data subjects. Effects happen here, after the commit that
//! permits them. Deliberately not here: what is decided (the domain), SQL (the store), HTTP.

mod auditor;
mod background;
mod generate;
mod log;
pub mod migrate;
mod recorded;
mod registry;
mod report;
mod spans;
pub mod verify;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tracing::Instrument as _;

use crate::{
    domain::{
        command::{ChangePolicy, Command, CreateKey, Intervene, RevokeKey, RotateKey},
        ids::{EngineId, Micros, Position, Sha256},
    },
    embed::Embedder,
    llm::Llm,
    store::{
        Store,
        keys::ContentKey,
        seal::SealError,
        state_fold::ReplayError,
        subject::Directory,
        writer::{Actor, Committed, Limits, Outcome, Proposal, View, WriteError, Writer},
    },
    telemetry::metrics::{EngineMetrics, Metrics},
};
pub use auditor::Pace;
pub use generate::{Answer, Caller, Chat, StepError, StepHandle, StepRequest, StepResponse};
pub use log::{EventFilter, EventPage, EventReport, PAGE_MAX};
pub use recorded::read_recorded_answers;
pub use registry::Engines;
pub use report::StateReport;

/// What engines are run with; decides no outcome.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The engine of who names none.
    pub default: EngineId,
    /// How long a step may take, all told.
    pub timeout: Duration,
    /// How much longer its ending may take to reach the log before it is given up.
    pub grace: Duration,
    /// Bounds of the writers.
    pub limits: Limits,
    /// Bytes the memories of loaded engines may take; beyond, idle ones are unloaded.
    pub memory_budget: usize,
    /// An engine unused for this long is unloaded.
    pub idle_evict: Duration,
    /// How fast logs are verified meanwhile; none: not at all.
    pub audit: Option<Pace>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default: EngineId::default(),
            timeout: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            limits: Limits::default(),
            memory_budget: 1 << 30,
            idle_evict: Duration::from_mins(15),
            audit: None,
        }
    }
}

/// The parts of an engine that are the same for all of them.
#[derive(Clone)]
pub struct Parts {
    /// Where the logs are.
    pub store: Store,
    /// What keys are wrapped with.
    pub content_key: Arc<ContentKey>,
    /// Who answers.
    pub llm: Llm,
    /// What makes vectors.
    pub embedder: Embedder,
    /// What is counted of them.
    pub metrics: Arc<Metrics>,
}

/// Why an engine cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Its log cannot be read or folded.
    #[error(transparent)]
    Folding(#[from] Arc<ReplayError>),
    /// Its keys cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A command was not recorded.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Its policy names an embedder this server does not run.
    #[error(
        "the engine's vectors are made by {wanted}, this server runs {running}; \
         configure that embedder, or copy the engine with `mlsdm engine migrate`"
    )]
    Embedder {
        /// The policy's.
        wanted: String,
        /// The server's.
        running: String,
    },
    /// Its log has no event.
    #[error("engine {0} has no event: its creation did not finish; create it again")]
    Empty(EngineId),
    /// The time asked for is before the log's first event.
    #[error("engine {0} has no event from then or before; GET /v1/events/1 tells when it began")]
    Before(EngineId),
    /// The position asked for is not in the log yet.
    #[error("position {position} is not in the log yet, its head is {head}")]
    Beyond {
        /// Asked for.
        position: Position,
        /// The last one.
        head: Position,
    },
}

impl From<crate::store::StoreError> for EngineError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Folding(Arc::new(ReplayError::Store(error)))
    }
}

impl From<ReplayError> for EngineError {
    fn from(error: ReplayError) -> Self {
        Self::Folding(Arc::new(error))
    }
}

/// Where an event of a command stands.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// Its position; the head's, when nothing had to be recorded.
    pub position: Position,
    /// The chain hash there.
    pub chain_hash: Sha256,
}

/// One engine, loaded.
pub struct Engine {
    id: EngineId,
    parts: Parts,
    settings: Arc<Settings>,
    directory: Arc<Directory>,
    writer: Writer,
    metrics: Arc<EngineMetrics>,
    used_at: AtomicI64,
    replays: Arc<Semaphore>,
    running: AtomicUsize,
    digest: Mutex<Option<(Position, Sha256)>>,
}

impl Engine {
    /// Its name.
    pub const fn id(&self) -> &EngineId {
        &self.id
    }

    /// What makes its vectors.
    pub const fn embedder(&self) -> &Embedder {
        &self.parts.embedder
    }

    /// The newest published state.
    pub fn view(&self) -> Arc<View> {
        self.writer.view()
    }

    /// Commands that wait for the writer.
    pub fn queue_depth(&self) -> usize {
        self.writer.depth()
    }

    /// Notified of each newly published state; closed when the engine is unloaded.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.writer.watch()
    }

    /// Folds what other replicas wrote, soon.
    pub fn catch_up(&self) {
        self.writer.catch_up();
    }

    /// Admits nothing from now on; running steps end normally.
    pub async fn shutdown(&self, act: Intervene) -> Result<Receipt, EngineError> {
        let actor = Actor::Clear(act.actor.clone());
        self.act(Command::Shutdown(act), actor).await
    }

    /// Admits again.
    pub async fn resume(&self, act: Intervene) -> Result<Receipt, EngineError> {
        let actor = Actor::Clear(act.actor.clone());
        self.act(Command::Resume(act), actor).await
    }

    /// Replaces the policy.
    pub async fn change_policy(&self, change: ChangePolicy) -> Result<Receipt, EngineError> {
        let actor = Actor::Clear(change.actor.clone());
        self.act(Command::ChangePolicy(Box::new(change)), actor).await
    }

    /// Takes an API key from now on; of the server's own log only, as are the next two.
    pub async fn create_key(&self, create: CreateKey) -> Result<Receipt, EngineError> {
        let actor = Actor::Clear(create.actor.clone());
        self.act(Command::CreateKey(Box::new(create)), actor).await
    }

    /// Takes an API key no longer.
    pub async fn revoke_key(&self, revoke: RevokeKey) -> Result<Receipt, EngineError> {
        let actor = Actor::Clear(revoke.actor.clone());
        self.act(Command::RevokeKey(revoke), actor).await
    }

    /// Gives an API key another secret.
    pub async fn rotate_key(&self, rotate: RotateKey) -> Result<Receipt, EngineError> {
        let actor = Actor::Clear(rotate.actor.clone());
        self.act(Command::RotateKey(rotate), actor).await
    }

    async fn act(&self, command: Command, actor: Actor) -> Result<Receipt, EngineError> {
        let proposal = Proposal::of_engine(crate::ids::command_id(), command, actor);
        let committed = self.commit(proposal).await?;
        let view = self.view();
        Ok(match committed.events.first() {
            Some((envelope, _)) => {
                Receipt { position: envelope.position, chain_hash: committed.chain_hash }
            }
            None => Receipt { position: view.state.position, chain_hash: view.chain_hash },
        })
    }

    /// Hands a command to the writer and waits until it is in the log, or refused.
    async fn propose(&self, proposal: Proposal) -> Result<Outcome, WriteError> {
        let handed = Instant::now();
        let span = spans::append(&self.id);
        let outcome = self.writer.propose(proposal).instrument(span.clone()).await;
        spans::appended(&span, &outcome);
        self.metrics.steps.overhead.append.observe_time(handed.elapsed());
        outcome
    }

    /// Records a command that claims no idempotency key.
    async fn commit(&self, proposal: Proposal) -> Result<Committed, WriteError> {
        match self.propose(proposal).await? {
            Outcome::Committed(committed) => Ok(committed),
            Outcome::Duplicate(_) => {
                Err(WriteError::Defect("a command without a key met a duplicate".to_owned()))
            }
        }
    }

    fn touch(&self) {
        self.used_at.store(crate::clock::now_micros(), Ordering::Relaxed);
    }

    fn used_at(&self) -> Micros {
        self.used_at.load(Ordering::Relaxed)
    }

    fn is_busy(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }
}

/// Counts a running step, so that its engine is not unloaded under it.
struct Running<'a>(&'a Engine);

impl<'a> Running<'a> {
    fn new(engine: &'a Engine) -> Self {
        engine.running.fetch_add(1, Ordering::AcqRel);
        engine.touch();
        Self(engine)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}
