//! The engines of this process: created on demand, loaded by replay at first use, unloaded when idle.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
};

use tokio::sync::{OnceCell, Semaphore};

use super::{Engine, EngineError, Parts, Receipt, Settings};
use crate::{
    domain::{
        command::{Abandon, AbandonCause, ChangePolicy, Command},
        event::{DECIDE_VERSION, EngineCreated, Event, LOG_FORMAT},
        ids::{EngineId, Position, Sha256},
        policy::Policy,
    },
    lifecycle::Tasks,
    store::{
        EngineRow, Head, Record, StoreError, chain, codec,
        keys::IndexKey,
        replay,
        state_fold::{self, ReplayError, StateFold},
        subject::Directory,
        writer::{Actor, Proposal, WriteError, writer},
    },
};

type Slot = Arc<OnceCell<Arc<Engine>>>;

/// All engines; cheap to clone.
#[derive(Clone)]
pub struct Engines {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    settings: Arc<Settings>,
    tasks: Tasks,
    loaded: Mutex<HashMap<EngineId, Slot>>,
    replays: Arc<Semaphore>,
}

/// Replays for callers (`state?at_position=`) that run at once; more wait.
const REPLAYS_MAX: usize = 2;

impl Engines {
    /// No engine is loaded yet. `tasks` runs their writers.
    pub fn new(parts: Parts, settings: Settings, tasks: Tasks) -> Self {
        let settings = Arc::new(settings);
        Self {
            shared: Arc::new(Shared {
                parts,
                settings,
                tasks,
                loaded: Mutex::default(),
                replays: Arc::new(Semaphore::new(REPLAYS_MAX)),
            }),
        }
    }

    /// Where the logs are, and what engines are made of.
    pub fn parts(&self) -> &Parts {
        &self.shared.parts
    }

    /// What engines are run with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.shared.tasks
    }

    /// The engines of the log, loaded or not, with their heads; without the server's own log.
    pub async fn list(&self) -> Result<Vec<(EngineRow, Head)>, EngineError> {
        let mut rows = self.parts().store.engines().await?;
        rows.retain(|row| !row.engine_id.is_system());
        let ids: Vec<EngineId> = rows.iter().map(|row| row.engine_id.clone()).collect();
        let heads: HashMap<EngineId, Head> =
            self.parts().store.heads(&ids).await?.into_iter().collect();
        let with_head = |row: EngineRow| heads.get(&row.engine_id).map(|head| (row, *head));
        Ok(rows.into_iter().filter_map(with_head).collect())
    }

    /// An engine, loaded by replaying its log if need be. Callers at the same time load it once.
    pub async fn get(&self, id: &EngineId) -> Result<Arc<Engine>, EngineError> {
        let slot = {
            let mut loaded = self.loaded();
            Arc::clone(loaded.entry(id.clone()).or_default())
        };
        let engine = slot.get_or_try_init(|| self.load(id)).await;
        if engine.is_err() {
            self.forget_empty(id, &slot);
        }
        let engine = engine?;
        engine.touch();
        Ok(Arc::clone(engine))
    }

    /// A failed load leaves no slot behind: names that strangers try must not pile up. While others
    /// hold the slot they may be loading into it: the last of them to fail removes it.
    fn forget_empty(&self, id: &EngineId, slot: &Slot) {
        let mut loaded = self.loaded();
        let unused = |held: &Slot| {
            Arc::ptr_eq(held, slot) && held.get().is_none() && Arc::strong_count(held) == 2
        };
        if loaded.get(id).is_some_and(unused) {
            loaded.remove(id);
        }
    }

    /// Drops the slots that a cancelled load left behind.
    pub(super) fn forget_cancelled(&self) {
        self.loaded().retain(|_, slot| slot.get().is_some() || Arc::strong_count(slot) > 1);
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<EngineId, Slot>> {
        self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engines in memory.
    pub fn in_memory(&self) -> Vec<Arc<Engine>> {
        self.loaded().values().filter_map(|slot| slot.get().cloned()).collect()
    }

    /// Unloads an engine that nobody uses but the caller, if it is not the server's own log. Whoever else holds it may be about to run
    /// a step, which the engine loaded next would take for an orphan.
    pub(super) fn unload(&self, engine: &Arc<Engine>) -> bool {
        let mut loaded = self.loaded();
        let unused = |slot: &Slot| {
            let same = slot.get().is_some_and(|held| Arc::ptr_eq(held, engine));
            // the slot's and the caller's; who asks for the engine right now holds the slot
            same && Arc::strong_count(slot) == 1 && Arc::strong_count(engine) == 2
        };
        let unload = !engine.id().is_system() && loaded.get(engine.id()).is_some_and(unused);
        if unload {
            loaded.remove(engine.id());
        }
        unload
    }

    /// Lets go of all engines: their writers end once their last step has.
    pub fn unload_all(&self) {
        self.loaded().clear();
    }

    async fn load(&self, id: &EngineId) -> Result<Arc<Engine>, EngineError> {
        let parts = self.parts().clone();
        let row =
            parts.store.engine(id).await?.ok_or_else(|| StoreError::EngineMissing(id.clone()))?;
        state_fold::check_format(&row).map_err(ReplayError::from)?;
        let index_key = parts.content_key.unwrap_index_key(id, &row.index_key)?;
        let end = Position::MAX;
        let folder = replay::replay(&parts.store, &parts.content_key, id, end, &mut |_| {}).await?;
        parts.metrics.steps.replayed.inc_by(folder.position());
        self.start(id, folder, index_key).await
    }

    async fn start(
        &self,
        id: &EngineId,
        folder: StateFold,
        index_key: IndexKey,
    ) -> Result<Arc<Engine>, EngineError> {
        let mut parts = self.parts().clone();
        parts.llm = parts.llm.for_engine(id);
        let directory =
            Arc::new(Directory::new(id.clone(), Arc::clone(&parts.content_key), index_key));
        let limits = self.settings().limits;
        let made = writer(id.clone(), parts.store.clone(), Arc::clone(&directory), folder, limits);
        let (writer, task) = made.ok_or_else(|| EngineError::Empty(id.clone()))?;
        let metrics = parts.metrics.engine(id);
        // the server's own log remembers nothing: whatever makes vectors fits
        if !id.is_system() {
            let policy = &writer.view().state.policy;
            parts.embedder =
                parts.embedder.for_policy(policy).ok_or_else(|| EngineError::Embedder {
                    wanted: policy.vectors(),
                    running: parts.embedder.to_string(),
                })?;
        }
        self.tasks().spawn("writer", task.counted(Arc::clone(&metrics)).run());
        let engine = Arc::new(Engine {
            id: id.clone(),
            parts,
            settings: Arc::clone(&self.shared.settings),
            directory,
            writer,
            metrics,
            used_at: AtomicI64::new(crate::clock::now_micros()),
            replays: Arc::clone(&self.shared.replays),
            running: 0.into(),
            digest: std::sync::Mutex::default(),
        });
        if engine.parts.store.has_one_owner() {
            engine.close_orphans().await?;
        }
        Ok(engine)
    }

    /// Creates an engine: its row, its index key and `engine.created`, in one transaction.
    pub async fn create(
        &self,
        id: &EngineId,
        policy: Policy,
        config_hash: Option<String>,
        actor: &str,
    ) -> Result<Receipt, EngineError> {
        policy.validate().map_err(|e| WriteError::Refused(e.into()))?;
        let parts = self.parts();
        let index_key = IndexKey::generate()?;
        let created_at = parts.store.local_time();
        let row = EngineRow {
            engine_id: id.clone(),
            created_at,
            log_format: LOG_FORMAT,
            index_key: parts.content_key.wrap_index_key(id, &index_key)?,
        };
        let created = EngineCreated { policy, log_format: LOG_FORMAT, config_hash };
        let record = first_record(id, created_at, created, actor)?;
        let receipt = Receipt { position: record.position, chain_hash: record.chain_hash };
        parts.store.create_engine(&row, &record, None).await?;
        parts.metrics.steps.appended(&record.kind);
        Ok(receipt)
    }

    /// The default engine, made from configuration if it is not there, and its policy brought up to
    /// date where this process alone owns the log. Gives whether the policy differs all the same.
    pub async fn ensure_default(&self, policy: &Policy) -> Result<bool, EngineError> {
        let id = self.settings().default.clone();
        let hash = policy.hash().to_string();
        if self.ensure(&id, policy, Some(hash), "config").await? {
            // its gauges have values from the start, not at the first request
            self.get(&id).await?;
            return Ok(false);
        }
        let engine = self.get(&id).await?;
        let applied = engine.view().state.config.clone();
        if applied.is_none_or(|applied| *applied == *policy) {
            return Ok(false);
        }
        if !self.parts().store.has_one_owner() {
            return Ok(true);
        }
        engine.apply_config(policy, "config", "the configuration changed").await?;
        Ok(false)
    }
}

impl Engines {
    /// The server's own log, made if it is not there. It stays loaded, so that what other replicas
    /// write into it is followed.
    pub async fn system(&self) -> Result<Arc<Engine>, EngineError> {
        let id = EngineId::system();
        let slot = self.loaded().get(&id).cloned();
        if let Some(engine) = slot.as_ref().and_then(|slot| slot.get()) {
            return Ok(Arc::clone(engine));
        }
        self.ensure(&id, &Policy::default(), None, "server").await?;
        self.get(&id).await
    }

    /// Creates an engine if it is not there, and says whether it was this call that did.
    async fn ensure(
        &self,
        id: &EngineId,
        policy: &Policy,
        config_hash: Option<String>,
        actor: &str,
    ) -> Result<bool, EngineError> {
        if self.parts().store.engine(id).await?.is_some() {
            return Ok(false);
        }
        match self.create(id, policy.clone(), config_hash, actor).await {
            Ok(_) => Ok(true),
            // another replica was first
            Err(EngineError::Folding(error))
                if matches!(&*error, ReplayError::Store(StoreError::EngineExists(_))) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn first_record(
    id: &EngineId,
    now: i64,
    created: EngineCreated,
    actor: &str,
) -> Result<Record, WriteError> {
    let encoded = codec::encode(&Event::EngineCreated(Box::new(created)))
        .map_err(|e| WriteError::Defect(e.to_string()))?;
    let mut record = Record {
        position: 1,
        command_id: crate::ids::command_id(),
        kind: encoded.kind.to_owned(),
        schema_version: encoded.schema_version,
        decide_version: DECIDE_VERSION,
        recorded_at: now,
        step: None,
        request_id: None,
        actor: Some(actor.to_owned()),
        subject_ref: None,
        trace_id: None,
        payload: encoded.payload,
        content_hash: None,
        leaf_hash: Sha256::default(),
        chain_hash: Sha256::default(),
    };
    record.leaf_hash = chain::leaf(id, &record);
    record.chain_hash = chain::link(chain::genesis(id), 1, record.leaf_hash);
    Ok(record)
}

impl Engine {
    /// Applies a configuration's policy: only the fields in which it differs from the configuration
    /// applied last, so that what an operator changed meanwhile stays.
    pub async fn apply_config(
        &self,
        policy: &Policy,
        actor: &str,
        reason: &str,
    ) -> Result<Receipt, EngineError> {
        let state = &self.view().state;
        let changed = match &state.config {
            Some(before) => state.policy.with_changes(before, policy),
            None => policy.clone(),
        };
        self.change_policy(ChangePolicy {
            policy: changed,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            config: Some(policy.clone()),
        })
        .await
    }

    /// Ends what a former process of this database left open: this one is provably alone.
    async fn close_orphans(&self) -> Result<(), EngineError> {
        let open: Vec<u64> = self.view().state.open.keys().copied().collect();
        for step in open {
            self.abandon(step, AbandonCause::SoleOwner).await?;
        }
        Ok(())
    }

    /// Gives a step up, unless it has an ending or time left.
    pub(super) async fn abandon(&self, step: u64, cause: AbandonCause) -> Result<(), EngineError> {
        let command = Command::Abandon(Abandon { step, cause });
        let mut proposal = Proposal::of_engine(crate::ids::command_id(), command, Actor::Server);
        proposal.ends_claim = true;
        match self.commit(proposal).await {
            Ok(_) | Err(WriteError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
