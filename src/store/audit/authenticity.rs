//! Checks that servers of the deployment wrote the events: their MACs, and the format that requires
//! them.

use super::finding::Finding;
use crate::{
    domain::{
        event::LOG_FORMAT,
        ids::{EngineId, MacKeyId, Position},
    },
    store::{
        EngineRow, Record, Store, StoreError, codec,
        keys::ContentKey,
        state_fold::{MAC_FORMAT, key_that_begins},
    },
};

/// The part of an audit that needs the content key, and what it can check without.
pub(super) struct Authenticity<'a> {
    store: &'a Store,
    engine: &'a EngineId,
    content_key: Option<&'a ContentKey>,
    /// The format of the log so far.
    format: u32,
    /// The lowest MAC key that the next event may have.
    least_mac_key: MacKeyId,
}

impl<'a> Authenticity<'a> {
    pub(super) const fn new(
        store: &'a Store,
        engine: &'a EngineId,
        content_key: Option<&'a ContentKey>,
    ) -> Self {
        Self { store, engine, content_key, format: 1, least_mac_key: 0 }
    }

    /// Checks the column `log_format` against the format for which the index key was wrapped.
    pub(super) fn row(&self, row: &EngineRow) -> Option<Finding> {
        match self.content_key?.unwrap_index_key(row) {
            Err(_) => Some(Finding::IndexKey),
            Ok((_, written)) if written == row.log_format => None,
            Ok((_, written)) => {
                let row = row.log_format;
                Some(Finding::FormatColumn { row, written })
            }
        }
    }

    /// Reads the MAC keys of a page.
    pub(super) async fn read_keys(
        &self,
        records: impl Iterator<Item = &Record>,
    ) -> Result<(), StoreError> {
        let Some(content_key) = self.content_key else { return Ok(()) };
        let ring = self.store.mac_ring();
        let mut ids: Vec<MacKeyId> =
            records.filter_map(|record| record.mac).map(|mac| mac.key).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| ring.get(*id).is_none());
        if !ids.is_empty() {
            ring.open(content_key, &self.store.mac_key_rows(&ids).await?);
        }
        Ok(())
    }

    /// Checks the MAC of an event whose hashes are right.
    pub(super) fn event(&self, record: &Record) -> Option<Finding> {
        if self.format.max(begins_format(record)) < MAC_FORMAT {
            return None;
        }
        let Some(mac) = record.mac else { return Some(Finding::MacMissing) };
        self.content_key?;
        let Some(key) = self.store.mac_ring().get(mac.key) else {
            return Some(Finding::MacKey(mac.key));
        };
        if !key.verify(self.engine, record.position, record.chain_hash, &mac) {
            return Some(Finding::Mac);
        }
        let least = self.least_mac_key;
        (mac.key < least).then_some(Finding::MacKeyRetired { key: mac.key, least })
    }

    /// Goes on after an event without a finding.
    pub(super) fn passed(&mut self, record: &Record) {
        self.format = self.format.max(begins_format(record));
        let signed = record.mac.map(|mac| mac.key).filter(|_| self.format >= MAC_FORMAT);
        let begun = key_that_begins(record);
        self.least_mac_key = self.least_mac_key.max(signed.unwrap_or(0)).max(begun.unwrap_or(0));
    }

    /// Compares the format of the whole log with that of the engine's row. A log of a newer format is
    /// left to the binary that knows it.
    pub(super) async fn end(&self, position: Position) -> Result<Option<Finding>, StoreError> {
        let row = self.store.engine(self.engine).await?.map_or(self.format, |row| row.log_format);
        // read after the row, which is changed together with the log
        let is_end = self.store.head(self.engine).await?.position == position;
        let differs = row != self.format && self.format.max(row) <= LOG_FORMAT && is_end;
        let finding = Finding::Format { row, found: self.format };
        Ok(differs.then_some(finding))
    }
}

/// The format that the log has from this event on; 0 if the event does not set it.
fn begins_format(record: &Record) -> u32 {
    if !matches!(record.kind.as_str(), "engine.created" | "log.format_raised") {
        return 0;
    }
    let event = codec::decode(&record.kind, record.schema_version, &record.payload);
    event.ok().and_then(|event| event.begins_format()).unwrap_or(0)
}
