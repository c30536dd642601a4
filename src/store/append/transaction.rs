//! An append's transaction before it locks the engine's row.

use super::{
    Append, insert,
    rows::{Rows, TimeAndHead, now_and_head},
};
use crate::{
    domain::ids::EngineId,
    store::{Conn, Store, StoreError, faults::Hooks, sql, tx::Tx},
};

/// A transaction that does not hold the engine's row yet.
pub struct UnlockedAppend {
    store: Store,
    engine: EngineId,
    tx: Tx,
    hooks: Hooks,
}

impl Store {
    /// Starts an append: waits for the engine's row, at most the lock timeout.
    pub async fn begin(&self, engine: &EngineId) -> Result<Append, StoreError> {
        self.begin_unlocked(engine).await?.lock().await
    }

    /// Starts an append that does not ask for the engine's row yet. SQLite has no row locks: there it
    /// waits for every other writer.
    pub async fn begin_unlocked(&self, engine: &EngineId) -> Result<UnlockedAppend, StoreError> {
        let hooks = self.hooks().at_begin().await?;
        let tx = match hooks.simulate().await? {
            Some(simulated) => Tx::Simulated(simulated),
            None => self.begin_tx().await?,
        };
        Ok(UnlockedAppend { store: self.clone(), engine: engine.clone(), tx, hooks })
    }
}

impl UnlockedAppend {
    /// Waits for the engine's row, at most the lock timeout.
    pub async fn lock(mut self) -> Result<Append, StoreError> {
        // not together with BEGIN: failing with it leaves the driver's connection in an aborted
        // transaction
        let found = if let Conn::Simulated(tx) = self.tx.conn() {
            vec![(None, Some(tx.lock().await?))]
        } else {
            let conn = self.tx.conn();
            fetch!(conn, sql::LOCKED_HEAD, now_and_head, [self.engine.as_str()])?
        };
        self.locked(found)
    }

    /// As [`Self::lock`], and inserts the rows if the log's head is the expected one; the flag says
    /// whether it is. One round trip (SQLite has none), so that nothing stands between these rows and
    /// the commit before them.
    pub async fn append(mut self, rows: Rows<'_>) -> Result<(Append, bool), StoreError> {
        let found = insert::expected(self.tx.conn(), &self.engine, rows).await?;
        let mut append = self.locked(found)?;
        let is_expected = append.head.is_at(rows.expected);
        if is_expected {
            append.newest = rows.events.last().map(|event| event.recorded_at);
            append.hooks.at_insert()?;
        }
        Ok((append, is_expected))
    }

    /// Gives up the transaction.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.tx.rollback().await
    }

    fn locked(self, found: Vec<TimeAndHead>) -> Result<Append, StoreError> {
        let (database_time, head) = found.into_iter().next().unwrap_or_default();
        // an engine is made together with its first event
        let head = head.ok_or_else(|| StoreError::EngineMissing(self.engine.clone()))?;
        let clock = self.store.clock().of_head(&self.engine, database_time, head.recorded_at);
        let now = clock.now();
        Ok(Append {
            engine: self.engine,
            tx: self.tx,
            aborted: false,
            commits: self.store.metrics().commit.clone(),
            head,
            now,
            clock,
            newest: None,
            hooks: self.hooks,
        })
    }
}
