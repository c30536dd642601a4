//! The engines of this process: created on request, loaded by replaying their log at first use,
//! unloaded when idle.
//!
//! At most [`LOADS_MAX`] logs are replayed at once. A further load waits for its turn, one per engine, and its
//! requests wait up to their own limits.
//!
//! A log that is damaged after its first event is loaded up to the damage: the engine is untrusted.

mod load;
mod slot;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Semaphore, watch};

use self::slot::{Loading, Slot};
use super::{Engine, EngineError, Parts, Receipt, Settings, refusals::Refusals};
use crate::{
    domain::{
        event::{EngineCreated, Event, LOG_FORMAT},
        ids::{EngineId, Sha256},
        policy::Policy,
        rules::Rules,
    },
    lifecycle::Tasks,
    store::{
        EngineRow, Head, Record, StoreError, chain, codec,
        keys::IndexKey,
        state_fold::{MAC_FORMAT, ReplayError},
        writer::WriteError,
    },
};

/// All engines; cheap to clone.
#[derive(Clone)]
pub struct Engines {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    settings: Arc<Settings>,
    tasks: Tasks,
    loaded: Mutex<HashMap<EngineId, Arc<Slot>>>,
    loads: Semaphore,
    replays: Arc<Semaphore>,
    refusals: Refusals,
}

/// Maximum number of engines that are being loaded. A load takes a connection to the database and memory
/// for the pages of the log, and goes on if its callers leave.
const LOADS_MAX: usize = 4;

/// Maximum number of concurrent replays for queries of past states (`state?at_position=`); further
/// queries wait.
const REPLAYS_MAX: usize = 2;

impl Engines {
    /// A registry without loaded engines. `tasks` runs their writers.
    pub fn new(parts: Parts, settings: Settings, tasks: Tasks) -> Self {
        let settings = Arc::new(settings);
        Self {
            shared: Arc::new(Shared {
                parts,
                settings,
                tasks,
                loaded: Mutex::default(),
                loads: Semaphore::new(LOADS_MAX),
                replays: Arc::new(Semaphore::new(REPLAYS_MAX)),
                refusals: Refusals::default(),
            }),
        }
    }

    /// The parts that all engines share.
    pub fn parts(&self) -> &Parts {
        &self.shared.parts
    }

    /// The settings of all engines.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn refusals(&self) -> &Refusals {
        &self.shared.refusals
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.shared.tasks
    }

    /// All engines, loaded or not, with the heads of their logs. Excludes the server's own log.
    pub async fn list(&self) -> Result<Vec<(EngineRow, Head)>, EngineError> {
        let mut rows = self.parts().store.engines().await?;
        rows.retain(|row| !row.engine_id.is_system());
        let ids: Vec<EngineId> = rows.iter().map(|row| row.engine_id.clone()).collect();
        let heads: HashMap<EngineId, Head> =
            self.parts().store.heads(&ids).await?.into_iter().collect();
        let with_head = |row: EngineRow| heads.get(&row.engine_id).map(|head| (row, *head));
        Ok(rows.into_iter().filter_map(with_head).collect())
    }

    /// An engine, loaded by replaying its log if it is not in memory. Concurrent callers share one
    /// replay, which goes on if they leave: a caller with a limit would otherwise begin it anew for ever.
    pub async fn get(&self, id: &EngineId) -> Result<Arc<Engine>, EngineError> {
        let slot = {
            let mut loaded = self.loaded();
            Arc::clone(loaded.entry(id.clone()).or_default())
        };
        let engine = slot.get_or_load(|slot| self.start_load(id, slot)).await;
        if engine.is_err() {
            self.forget_empty(id, &slot);
        }
        let engine = engine?;
        engine.touch();
        Ok(engine)
    }

    fn start_load(&self, id: &EngineId, slot: &Arc<Slot>) -> Loading {
        let (sender, loading) = watch::channel(None);
        let (engines, id, slot) = (self.clone(), id.clone(), Arc::clone(slot));
        self.tasks().spawn("load", async move {
            let stop = engines.tasks().stop().clone();
            let loaded = tokio::select! {
                loaded = Box::pin(engines.load_in_turn(&id)) => loaded,
                () = stop.soft() => Err(WriteError::Closed.into()),
            };
            slot.loaded(&loaded);
            // before the callers look at the number of its holders
            drop(slot);
            sender.send_replace(Some(loaded));
        });
        loading
    }

    async fn load_in_turn(&self, id: &EngineId) -> Result<Arc<Engine>, EngineError> {
        let turn = self.shared.loads.acquire().await;
        let _turn = turn.map_err(|_| WriteError::Closed)?;
        self.load(id).await
    }

    /// Removes the slot after a failed load, so that requests for unknown names do not use memory.
    /// Other callers that hold the slot may be loading into it; the last of them to fail removes it.
    fn forget_empty(&self, id: &EngineId, slot: &Arc<Slot>) {
        let mut loaded = self.loaded();
        let unused = |held: &Arc<Slot>| {
            Arc::ptr_eq(held, slot) && held.get().is_none() && Arc::strong_count(held) == 2
        };
        if loaded.get(id).is_some_and(unused) {
            loaded.remove(id);
        }
    }

    /// Removes the slots of failed loads whose callers have left.
    pub(super) fn forget_failed(&self) {
        self.loaded().retain(|_, slot| slot.get().is_some() || Arc::strong_count(slot) > 1);
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<EngineId, Arc<Slot>>> {
        self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engines in memory.
    pub fn in_memory(&self) -> Vec<Arc<Engine>> {
        self.loaded().values().filter_map(|slot| slot.get().cloned()).collect()
    }

    /// Unloads an engine if only the registry and the caller hold it, and if it is not the server's
    /// own log. Another holder may be about to run a step; an engine that is loaded again would treat
    /// that step as left open by an earlier process.
    pub(super) fn unload(&self, engine: &Arc<Engine>) -> bool {
        let mut loaded = self.loaded();
        let unused = |slot: &Arc<Slot>| {
            let same = slot.get().is_some_and(|held| Arc::ptr_eq(held, engine));
            // the references of the slot and of the caller; a pending `get` holds the slot
            same && Arc::strong_count(slot) == 1 && Arc::strong_count(engine) == 2
        };
        let unload = !engine.id().is_system() && loaded.get(engine.id()).is_some_and(unused);
        if unload {
            loaded.remove(engine.id());
        }
        unload
    }

    /// Unloads all engines. Their writers end after the last running step.
    pub fn unload_all(&self) {
        self.loaded().clear();
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
        let log_format = self.new_format().await?;
        let mac_key = if log_format >= MAC_FORMAT {
            Some(parts.store.mac_key(&parts.content_key).await?)
        } else {
            None
        };
        let index_key = IndexKey::generate()?;
        let created_at = parts.store.time().await?;
        let row = EngineRow {
            engine_id: id.clone(),
            created_at,
            log_format,
            index_key: parts.content_key.wrap_index_key(id, log_format, &index_key)?,
        };
        let policy = policy.for_format(log_format);
        let created = EngineCreated { policy, log_format, config_hash };
        let mut record = first_record(created_at, created, actor)?;
        chain::extend(id, chain::genesis(id), mac_key.as_deref(), &mut record);
        let receipt = Receipt { position: record.position, chain_hash: record.chain_hash };
        parts.store.create_engine(&row, &record, None).await?;
        parts.store.metrics().appended(&record.kind);
        Ok(receipt)
    }

    /// The log format of a new engine: that of the server's own log, which `mlsdm upgrade finish`
    /// raises first. Without that log, the highest format of an engine, so that a log that was removed
    /// does not come back in an older format; in an empty database, the newest.
    async fn new_format(&self) -> Result<u32, EngineError> {
        let Parts { store, content_key, .. } = self.parts();
        let rows = match store.engine(&EngineId::system()).await? {
            Some(system) => vec![system],
            None => store.engines().await?,
        };
        let mut highest = None;
        for row in rows {
            highest = highest.max(Some(content_key.unwrap_index_key(&row)?.1));
        }
        Ok(highest.unwrap_or(LOG_FORMAT))
    }

    /// Creates the default engine if it does not exist. Otherwise applies the policy of the
    /// configuration if this process is the only one that writes the log. Returns true if the
    /// configuration differs from the policy and was not applied.
    pub async fn ensure_default(&self, policy: &Policy) -> Result<bool, EngineError> {
        let id = self.settings().default.clone();
        let hash = policy.hash().to_string();
        if self.ensure(&id, policy, Some(hash), "config").await? {
            // load it, so that its gauges have values before the first request
            self.get(&id).await?;
            return Ok(false);
        }
        let engine = self.get(&id).await?;
        // untrusted: the server starts, so that its health and metrics show why
        if engine.damage().is_some() {
            return Ok(false);
        }
        let Some(applied) = engine.view().state.config.clone() else { return Ok(false) };
        let wanted = policy.as_change_of(&applied).for_format(engine.view().state.log_format);
        if wanted != *policy {
            tracing::warn!(
                event_type = "engine.policy_dated", engine = %id,
                "the engine keeps the older moral.scope and record.messages; see `mlsdm policy apply`"
            );
        }
        if *applied == wanted {
            return Ok(false);
        }
        if !self.parts().store.has_one_owner() {
            return Ok(true);
        }
        engine.apply_config(&wanted, "config", "the configuration changed").await?;
        Ok(false)
    }
}

impl Engines {
    /// The server's own log, created if it does not exist. It stays loaded, so that the events of
    /// other replicas are followed.
    pub async fn system(&self) -> Result<Arc<Engine>, EngineError> {
        let id = EngineId::system();
        let slot = self.loaded().get(&id).cloned();
        if let Some(engine) = slot.as_ref().and_then(|slot| slot.get()) {
            return Ok(Arc::clone(engine));
        }
        self.ensure(&id, &Policy::default(), None, "server").await?;
        self.get(&id).await
    }

    /// Creates an engine if it does not exist. Returns true if this call created it.
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
            // another replica created it first
            Err(EngineError::Folding(error))
                if matches!(&*error, ReplayError::Store(StoreError::EngineExists(_))) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// The record of `engine.created`, without hashes and MAC.
fn first_record(now: i64, created: EngineCreated, actor: &str) -> Result<Record, WriteError> {
    let encoded = codec::encode(&Event::EngineCreated(Box::new(created)))
        .map_err(|e| WriteError::Defect(e.to_string()))?;
    Ok(Record {
        position: 1,
        command_id: crate::ids::command_id(),
        kind: encoded.kind.to_owned(),
        schema_version: encoded.schema_version,
        decide_version: Rules::NEWEST.version(),
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
        mac: None,
    })
}
