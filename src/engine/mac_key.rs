//! The rotation of the key that authenticates events.

use super::{EngineError, Engines, Receipt};
use crate::{
    domain::{
        command::Refusal,
        event::{Fact, MacKeyChanged},
        ids::MacKeyId,
    },
    store::{state_fold::MAC_FORMAT, writer::WriteError},
};

impl Engines {
    /// Begins a new MAC key and records it in the server's own log. Every process that folds the event
    /// reads the key and goes over to it.
    pub async fn rotate_mac_key(&self, actor: &str) -> Result<(MacKeyId, Receipt), EngineError> {
        let system = self.system().await?;
        let found = system.view().state.log_format;
        if found < MAC_FORMAT {
            let refusal = Refusal::LogFormat { kind: "mac_key.changed", needed: MAC_FORMAT, found };
            return Err(WriteError::Refused(refusal).into());
        }
        let parts = self.parts();
        let id = parts.store.make_mac_key(&parts.content_key).await?;
        let changed = MacKeyChanged { id, actor: actor.to_owned() };
        let receipt = system.record(Fact::MacKeyChanged(changed), actor.to_owned()).await?;
        // the writer of this process does not read its own events
        parts.store.mac_ring().open(&parts.content_key, &parts.store.mac_key_rows(&[id]).await?);
        Ok((id, receipt))
    }
}
