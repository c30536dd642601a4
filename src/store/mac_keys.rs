//! The rows of `mac_keys`: reading keys into the ring, the first key, rotation.
//!
//! A row that the content key does not open is ignored. An event that names it is then refused, as is
//! an event that names no row: neither was written by a process of this deployment.

use std::sync::Arc;

use super::{
    Append, Conn, Store, StoreError,
    bind::json,
    error::classify,
    keys::ContentKey,
    mac::{MAC_KEYS_MAX, MacKey, MacRing},
    records::{Columns, MacKeyRow},
    seal::SealError,
    sql,
};
use crate::domain::ids::MacKeyId;

/// Ids that a rotation tries: a row that is not ours may take one.
const FREE_ID_TRIES: MacKeyId = 16;

/// Why there is no MAC key for new events.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MacKeyError {
    /// The database could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key of the table can be unwrapped, or none can be made.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Store {
    /// The key of new events. An empty table gets key 1; of several processes that make it at the same
    /// time, the first wins.
    pub async fn mac_key(&self, content_key: &ContentKey) -> Result<Arc<MacKey>, MacKeyError> {
        let ring = self.mac_ring();
        if let Some(key) = ring.current() {
            return Ok(key);
        }
        let mut rows = self.newest_mac_keys().await?;
        if rows.is_empty() {
            self.insert_mac_key(content_key, 1).await?;
            rows = self.newest_mac_keys().await?;
        }
        ring.open(content_key, &rows);
        Ok(ring.current().ok_or(SealError::WrongContentKey)?)
    }

    /// Makes a further key and returns its id. Every process, this one too, reads it and signs with it
    /// from the `mac_key.changed` on that names it.
    pub async fn make_mac_key(&self, content_key: &ContentKey) -> Result<MacKeyId, MacKeyError> {
        self.mac_key(content_key).await?;
        // not in the ring: a key there may be used
        let all = MacRing::default();
        all.open(content_key, &self.newest_mac_keys().await?);
        let newest = all.newest().map_or(0, |key| key.id());
        for id in newest + 1..=newest + FREE_ID_TRIES {
            if self.insert_mac_key(content_key, id).await? {
                return Ok(id);
            }
        }
        let what =
            "mac_keys: the ids after the newest key are taken by rows of another content key";
        Err(StoreError::Corrupt { position: 0, what }.into())
    }

    /// The existing MAC keys with these ids.
    pub async fn mac_key_rows(&self, ids: &[MacKeyId]) -> Result<Vec<MacKeyRow>, StoreError> {
        let mut reader = self.reader().await?;
        let rows = mac_key_rows(reader.conn(), ids).await?;
        reader.done().await?;
        Ok(rows)
    }

    async fn newest_mac_keys(&self) -> Result<Vec<MacKeyRow>, StoreError> {
        let mut reader = self.reader().await?;
        let limit = MAC_KEYS_MAX as i64;
        let rows = fetch!(reader.conn(), sql::NEWEST_MAC_KEYS, row, [limit])?;
        reader.done().await?;
        Ok(rows)
    }

    /// Returns false if the id is taken.
    async fn insert_mac_key(&self, key: &ContentKey, id: MacKeyId) -> Result<bool, MacKeyError> {
        let (_, wrapped) = key.make_mac_key(id)?;
        let mut tx = self.begin_tx().await?;
        let values = (i64::from(id), self.local_time(), wrapped.as_slice());
        let inserted = execute!(tx.conn(), sql::INSERT_MAC_KEY, [values.0, values.1, values.2]);
        let inserted = inserted.map_err(classify)?;
        tx.commit_repeatable().await?;
        Ok(inserted > 0)
    }
}

impl Append {
    /// The existing MAC keys with these ids, read inside this transaction.
    pub async fn mac_key_rows(&mut self, ids: &[MacKeyId]) -> Result<Vec<MacKeyRow>, StoreError> {
        let rows = mac_key_rows(self.conn(), ids).await;
        self.checked(rows)
    }
}

async fn mac_key_rows(conn: Conn<'_>, ids: &[MacKeyId]) -> Result<Vec<MacKeyRow>, StoreError> {
    fetch!(
        conn,
        sql::MAC_KEYS,
        row,
        sqlite[json(ids.iter().copied())],
        postgres[ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>()]
    )
}

fn row(row: &impl Columns) -> Result<MacKeyRow, StoreError> {
    let id = row.int(0).map_err(classify)?;
    let invalid = |_| StoreError::Corrupt { position: 0, what: "mac_keys.id" };
    Ok((id.try_into().map_err(invalid)?, row.bytes(1).map_err(classify)?))
}
