//! Loads an engine: replays its log and starts its writer.

use std::sync::{Arc, atomic::AtomicI64};

use super::Engines;
use crate::{
    domain::ids::{EngineId, Position},
    engine::{Engine, EngineError, abandon, caches::Caches, open_steps::OpenSteps},
    store::{
        StoreError,
        keys::IndexKey,
        replay,
        state_fold::{self, LogDamage, ReplayError, StateFold},
        subject::{Directory, Subjects},
        writer::writer,
    },
};

impl Engines {
    /// Replays the log of an engine and starts it.
    pub(super) async fn load(&self, id: &EngineId) -> Result<Arc<Engine>, EngineError> {
        let parts = self.parts().clone();
        let row =
            parts.store.engine(id).await?.ok_or_else(|| StoreError::EngineMissing(id.clone()))?;
        let (index_key, written) = parts.content_key.unwrap_index_key(&row)?;
        state_fold::check_format(id, written).map_err(ReplayError::from)?;
        if row.log_format != written {
            tracing::error!(
                event_type = "engine.format_changed",
                engine = %id,
                column = row.log_format,
                log_format = written,
                "the column log_format of the engine was changed; it is ignored, and `mlsdm audit verify` \
                 reports it"
            );
        }
        let end = Position::MAX;
        let mut fold = StateFold::new(
            id.clone(),
            Arc::clone(&parts.content_key),
            Arc::clone(parts.store.mac_ring()),
        );
        let folded = replay::advance(&parts.store, &mut fold, id, end, &mut |_| {}).await;
        let written = if fold.check_log_format(written).is_ok() {
            written
        } else {
            // the format may have been raised since the row was read
            let row = parts.store.engine(id).await?;
            let row = row.ok_or_else(|| StoreError::EngineMissing(id.clone()))?;
            parts.content_key.unwrap_index_key(&row)?.1
        };
        let damage = match folded {
            Ok(()) => {
                fold.check_log_format(written).map_err(ReplayError::from)?;
                None
            }
            // the state before the damage is good: an untrusted engine can be read. Events of a lower format
            // are authenticated only by the event that raised it
            Err(ReplayError::Damage(damage))
                if fold.state.is_some() && fold.check_log_format(written).is_ok() =>
            {
                Some(damage)
            }
            Err(error) => return Err(error.into()),
        };
        parts.metrics.steps.replayed.inc_by(fold.position());
        self.start(id, (fold, damage), index_key).await
    }

    async fn start(
        &self,
        id: &EngineId,
        fold: (StateFold, Option<Box<LogDamage>>),
        index_key: IndexKey,
    ) -> Result<Arc<Engine>, EngineError> {
        let mut parts = self.parts().clone();
        parts.llm = parts.llm.for_engine(id);
        let directory =
            Arc::new(Directory::new(id.clone(), Arc::clone(&parts.content_key), index_key));
        let limits = self.settings().limits;
        let subjects = Subjects::new(parts.store.clone(), Arc::clone(&directory));
        let made = writer(id.clone(), parts.store.clone(), directory, fold, limits);
        let (writer, task) = made.ok_or_else(|| EngineError::Empty(id.clone()))?;
        let metrics = parts.metrics.load(id);
        // the server's own log has no memory, so any embedder fits
        if !id.is_system() {
            let policy = &writer.view().state.policy;
            parts.embedder =
                parts.embedder.for_policy(policy).ok_or_else(|| EngineError::Embedder {
                    wanted: policy.vectors(),
                    running: parts.embedder.to_string(),
                })?;
        }
        self.tasks().spawn("writer", task.with_metrics(Arc::clone(&metrics.events)).run());
        let engine = Arc::new(Engine {
            id: id.clone(),
            parts,
            settings: Arc::clone(&self.shared.settings),
            subjects,
            writer,
            metrics,
            caches: Caches::default(),
            used_at: AtomicI64::new(crate::clock::now_micros()),
            replays: Arc::clone(&self.shared.replays),
            running: 0.into(),
            digest: std::sync::Mutex::default(),
            open_steps: OpenSteps::default(),
        });
        if engine.parts.store.has_one_owner() && engine.damage().is_none() {
            abandon::abandon_orphans(&engine).await?;
        }
        Ok(engine)
    }
}
