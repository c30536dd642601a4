//! The rotation of the key that authenticates events.

use super::{EngineError, Engines, Receipt};
use crate::{
    domain::{
        command::Refusal,
        event::{Fact, MacKeyChanged},
        ids::{EngineId, MacKeyId},
    },
    store::{state_fold::MAC_FORMAT, writer::WriteError},
};

/// A rotation.
#[derive(Debug)]
pub struct Rotation {
    /// The new key.
    pub id: MacKeyId,
    /// `mac_key.changed` in the server's own log.
    pub receipt: Receipt,
    /// The other logs that end the earlier keys now.
    pub rotated: Vec<EngineId>,
    /// The logs in which an earlier key still counts, with the reason.
    pub failed: Vec<(EngineId, EngineError)>,
}

impl Engines {
    /// Begins a new MAC key. `mac_key.changed` is recorded in the server's own log, from which all
    /// processes learn the key, and in the log of every engine: after it, that log accepts no event
    /// with an earlier key. A log of format 1 has no MACs and is left out.
    ///
    /// # Errors
    /// If the key could not be made or recorded in the server's own log. An engine that cannot record
    /// it is in [`Rotation::failed`].
    pub async fn rotate_mac_key(&self, actor: &str) -> Result<Rotation, EngineError> {
        let system = self.system().await?;
        let found = system.view().state.log_format;
        if found < MAC_FORMAT {
            let refusal = Refusal::LogFormat { kind: "mac_key.changed", needed: MAC_FORMAT, found };
            return Err(WriteError::Refused(refusal).into());
        }
        let parts = self.parts();
        let id = parts.store.make_mac_key(&parts.content_key).await?;
        // the events up to the change keep the key before it
        let ring = parts.store.mac_ring();
        if let Some(current) = ring.current() {
            ring.select(current.id());
        }
        ring.open(&parts.content_key, &parts.store.mac_key_rows(&[id]).await?);
        let fact = || Fact::MacKeyChanged(MacKeyChanged { id, actor: actor.to_owned() });
        let receipt = system.record(fact(), actor.to_owned()).await?;
        let (mut rotated, mut failed) = (Vec::new(), Vec::new());
        for (row, _) in self.list().await? {
            let engine = row.engine_id;
            if row.log_format < MAC_FORMAT || engine.is_system() {
                continue;
            }
            match self.record_in(&engine, fact(), actor).await {
                Ok(()) => rotated.push(engine),
                Err(error) => failed.push((engine, error)),
            }
        }
        Ok(Rotation { id, receipt, rotated, failed })
    }

    /// Records a fact in an engine, which is unloaded again if it was not in memory.
    async fn record_in(&self, id: &EngineId, fact: Fact, actor: &str) -> Result<(), EngineError> {
        let was_loaded = self.in_memory().iter().any(|engine| engine.id() == id);
        let engine = self.get(id).await?;
        engine.record(fact, actor.to_owned()).await?;
        if !was_loaded {
            self.unload(&engine);
        }
        Ok(())
    }
}
