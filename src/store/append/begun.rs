//! From BEGIN to the engine's row: what was decided before, or is to be decided under the lock.

use std::{sync::Arc, time::Instant};

use super::{Append, Tx, insert};
use crate::{
    domain::ids::{EngineId, Micros, Position, Sha256},
    store::{
        Clock, Content, Head, Record, Store, StoreError,
        error::classify,
        records::{self, Columns},
        sql,
    },
};

/// A transaction that is to hold one engine's row, and does not yet.
pub struct Begun {
    store: Store,
    engine: EngineId,
    transaction: Tx,
    #[cfg(any(test, feature = "testkit"))]
    faults: Option<(u64, Arc<crate::store::faults::Faults>)>,
}

/// Events with their contents, and the event they are to follow.
pub struct Rows {
    /// The newest event of the log as its writer knows it.
    pub after: (Position, Sha256),
    /// Positions and hashes filled in.
    pub events: Vec<Record>,
    /// What belongs to them.
    pub contents: Vec<(Position, Content)>,
}

/// What the log's time is told by.
#[derive(Clone)]
pub enum LogClock {
    /// A clock of this process.
    Own(Clock),
    /// What the database's clock showed, and when that was known here.
    Database(Micros, Instant),
}

impl Store {
    /// Starts an append: waits for the engine's row, at most the lock timeout.
    pub async fn begin(&self, engine: &EngineId) -> Result<Append, StoreError> {
        self.begin_unlocked(engine).await?.lock().await
    }

    /// Starts an append that does not ask for the engine's row yet (SQLite knows no rows: there it
    /// waits for all that write).
    pub async fn begin_unlocked(&self, engine: &EngineId) -> Result<Begun, StoreError> {
        #[cfg(any(test, feature = "testkit"))]
        let faults = match self.faults() {
            Some(faults) => Some((faults.at_begin().await?, faults)),
            None => None,
        };
        let transaction = Tx::begin(self).await?;
        Ok(Begun {
            store: self.clone(),
            engine: engine.clone(),
            transaction,
            #[cfg(any(test, feature = "testkit"))]
            faults,
        })
    }
}

impl Begun {
    /// Waits for the engine's row, at most the lock timeout.
    pub async fn lock(mut self) -> Result<Append, StoreError> {
        // not together with BEGIN: failing with it leaves the driver's connection in an aborted
        // transaction
        let conn = self.transaction.conn();
        let found = fetch!(conn, sql::LOCKED_HEAD, now_and_head, [self.engine.as_str()])?;
        self.locked(found)
    }

    /// The same, and inserts the rows if they follow the head of the log; whether they did. In one
    /// round trip (SQLite has none), so that nothing stands between them and the commit before.
    pub async fn append(mut self, rows: &Rows) -> Result<(Append, bool), StoreError> {
        let conn = self.transaction.conn();
        let found = insert::following(conn, &self.engine, rows).await?;
        let append = self.locked(found)?;
        let follows = append.head.is_at(rows.after);
        #[cfg(any(test, feature = "testkit"))]
        if let (true, Some((_, faults))) = (follows, &append.faults) {
            faults.at_insert()?;
        }
        Ok((append, follows))
    }

    /// Gives it up.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.transaction.rollback().await
    }

    fn locked(self, found: Vec<(Option<Micros>, Option<Head>)>) -> Result<Append, StoreError> {
        let (database_time, head) = found.into_iter().next().unwrap_or_default();
        let own = match &self.store {
            Store::Sqlite(store) => Some(store.clock()),
            Store::Postgres(store) => store.clock(),
        };
        let clock = match own {
            Some(own) => LogClock::Own(Arc::clone(own)),
            None => LogClock::Database(database_time.unwrap_or_default(), Instant::now()),
        };
        // an engine is made together with its first event
        let head = head.ok_or_else(|| StoreError::EngineMissing(self.engine.clone()))?;
        let now = clock.now().max(head.recorded_at);
        Ok(Append {
            engine: self.engine,
            transaction: self.transaction,
            spoiled: false,
            commits: self.store.timings().commit.clone(),
            head,
            now,
            clock,
            #[cfg(any(test, feature = "testkit"))]
            faults: self.faults,
        })
    }
}

impl LogClock {
    /// The log's time, without asking anybody.
    pub fn now(&self) -> Micros {
        match self {
            Self::Own(clock) => clock(),
            Self::Database(shown, since) => {
                let passed = Micros::try_from(since.elapsed().as_micros()).unwrap_or(Micros::MAX);
                shown.saturating_add(passed)
            }
        }
    }
}

pub(super) fn now_and_head(
    row: &impl Columns,
) -> Result<(Option<Micros>, Option<Head>), StoreError> {
    let now = row.maybe_int(0).map_err(classify)?;
    let position = row.maybe_int(1).map_err(classify)?;
    Ok((now, position.map(|_| records::head(row, 1)).transpose()?))
}
