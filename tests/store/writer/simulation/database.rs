//! A log in memory with the locks and the failures of a database, drawn from a seed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use mlsdm::{
    domain::ids::{EngineId, Position, Sha256, StepNumber},
    store::{
        CommitError, Head, IdempotencyKey, IdempotencyRow, Record, Rows, StoreError,
        simulated::{SimulatedDatabase, SimulatedTx},
        state_fold::RecordWithVector,
    },
};
use tokio::{sync::OwnedMutexGuard, time::sleep};

use super::random::Random;

/// A mistake that the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// A commit of unknown outcome is reported as one that failed.
    DoubtIsHidden,
    /// Rows are inserted without regard to the log's head.
    VersionIsNotChecked,
    /// A commit is acknowledged before it is durable.
    EarlyAcknowledgement,
}

/// The failure rate and the locking of the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) fault_permille: u64,
    /// As SQLite: one connection that writes, instead of a lock on the log.
    pub(super) has_one_connection: bool,
    pub(super) defect: Option<Defect>,
}

#[derive(Debug, Default)]
struct Tables {
    records: Vec<Record>,
    keys: HashMap<IdempotencyKey, IdempotencyRow>,
}

/// Clones are handles on the same database.
#[derive(Clone, Debug)]
pub(super) struct Database {
    engine: EngineId,
    tables: Arc<Mutex<Tables>>,
    random: Arc<Mutex<Random>>,
    lock: Arc<tokio::sync::Mutex<()>>,
    conditions: Conditions,
}

struct Transaction {
    database: Database,
    lock: Option<OwnedMutexGuard<()>>,
    /// Events to be added to those in the database.
    records: Vec<Record>,
    /// The keys as this transaction leaves them, once it has the lock.
    keys: HashMap<IdempotencyKey, IdempotencyRow>,
}

impl Database {
    pub(super) fn new(first: Record, conditions: Conditions, random: Random) -> Self {
        let tables = Tables { records: vec![first], keys: HashMap::new() };
        Self {
            engine: EngineId::default(),
            tables: Arc::new(Mutex::new(tables)),
            random: Arc::new(Mutex::new(random)),
            lock: Arc::default(),
            conditions,
        }
    }

    /// True if the database may fail in this run.
    pub(super) const fn has_faults(&self) -> bool {
        self.conditions.fault_permille > 0
    }

    /// The committed events.
    pub(super) fn records(&self) -> Vec<Record> {
        self.tables().records.clone()
    }

    /// The committed event at a position.
    pub(super) fn record(&self, position: Position) -> Option<Record> {
        self.tables().records.get(position as usize - 1).cloned()
    }

    /// Resolves when no transaction holds the lock, and none will commit later.
    pub(super) async fn settled(&self) {
        sleep(Duration::from_mins(1)).await;
        drop(self.lock.lock().await);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap()
    }

    async fn pause(&self) {
        let delay = self.random().delay();
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }

    /// An error, if it is time for one.
    fn fault(&self, errors: &[fn(String) -> StoreError]) -> Result<(), StoreError> {
        let mut random = self.random();
        if random.chance(self.conditions.fault_permille) {
            return Err(random.pick(errors)("simulated".to_owned()));
        }
        Ok(())
    }

    async fn start(&self) -> Result<Box<dyn SimulatedTx>, StoreError> {
        self.pause().await;
        self.fault(&[StoreError::Unavailable, StoreError::Timeout, StoreError::Other])?;
        let has_one = self.conditions.has_one_connection;
        let lock = if has_one { Some(Arc::clone(&self.lock).lock_owned().await) } else { None };
        let (records, keys) = (Vec::new(), HashMap::new());
        Ok(Box::new(Transaction { database: self.clone(), lock, records, keys }))
    }
}

impl SimulatedDatabase for Database {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SimulatedTx>, StoreError>> {
        Box::pin(self.start())
    }
}

impl Tables {
    fn head(&self, engine: &EngineId) -> Head {
        self.records.last().map_or_else(
            || Head::before_first(engine),
            |record| Head {
                position: record.position,
                chain_hash: record.chain_hash,
                recorded_at: record.recorded_at,
            },
        )
    }
}

impl Transaction {
    async fn take_lock(&mut self) -> Result<Head, StoreError> {
        if self.lock.is_none() {
            self.lock = Some(Arc::clone(&self.database.lock).lock_owned().await);
        }
        self.database.pause().await;
        self.database.fault(&[StoreError::Timeout, StoreError::Unavailable])?;
        let tables = self.database.tables();
        self.keys.clone_from(&tables.keys);
        Ok(tables.head(&self.database.engine))
    }

    async fn insert_rows(&mut self, events: &[Record]) -> Result<(), StoreError> {
        self.database.pause().await;
        self.database.fault(&[
            StoreError::Serialization,
            StoreError::DiskFull,
            StoreError::Other,
            StoreError::Unavailable,
        ])?;
        self.records.extend_from_slice(events);
        Ok(())
    }

    async fn append_rows(&mut self, rows: Rows<'_>) -> Result<Head, StoreError> {
        let head = self.take_lock().await?;
        let (position, chain_hash): (Position, Sha256) = rows.expected;
        if self.database.conditions.defect == Some(Defect::VersionIsNotChecked) {
            self.insert_rows(rows.events).await?;
            return Ok(Head { position, chain_hash, ..head });
        }
        if head.is_at(rows.expected) {
            self.insert_rows(rows.events).await?;
        }
        Ok(head)
    }

    fn publish(self) {
        let mut tables = self.database.tables();
        tables.records.extend(self.records);
        tables.keys = self.keys;
    }

    /// Commits without an answer to the client, now or later, or not at all.
    #[expect(clippy::disallowed_methods, reason = "simulates a database that finishes by itself")]
    fn end_unheard(self) {
        let (how, delay) = {
            let mut random = self.database.random();
            (random.below(4), Duration::from_millis(1 + random.below(30)))
        };
        match how {
            0 => {}
            1 => self.publish(),
            _ => drop(tokio::spawn(async move {
                sleep(delay).await;
                if how == 2 {
                    self.publish();
                }
            })),
        }
    }

    async fn end(self) -> Result<(), CommitError> {
        let error = StoreError::Unavailable("simulated".to_owned());
        self.database.pause().await;
        let errors: &[fn(String) -> StoreError] =
            &[StoreError::Serialization, StoreError::DiskFull, StoreError::Other];
        self.database.fault(errors).map_err(CommitError::Failed)?;
        let is_unheard = self.database.fault(errors).is_err();
        match (is_unheard, self.database.conditions.defect) {
            (false, _) => self.publish(),
            (true, Some(Defect::EarlyAcknowledgement)) => self.end_unheard(),
            (true, Some(Defect::DoubtIsHidden)) => {
                self.end_unheard();
                let error = StoreError::Serialization("simulated".to_owned());
                return Err(CommitError::Failed(error));
            }
            (true, Some(Defect::VersionIsNotChecked) | None) => {
                self.end_unheard();
                return Err(CommitError::Unknown(error));
            }
        }
        Ok(())
    }
}

impl SimulatedTx for Transaction {
    fn lock(&mut self) -> BoxFuture<'_, Result<Head, StoreError>> {
        Box::pin(self.take_lock())
    }

    fn append<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<Head, StoreError>> {
        Box::pin(self.append_rows(rows))
    }

    fn tail(&mut self, after: Position, limit: u32) -> Result<Vec<RecordWithVector>, StoreError> {
        let tables = self.database.tables();
        let rows = tables.records.iter().filter(|record| record.position > after);
        Ok(rows.take(limit as usize).map(|record| (record.clone(), None)).collect())
    }

    fn insert<'a>(&'a mut self, events: &'a [Record]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.insert_rows(events))
    }

    fn idempotency(&mut self, keys: &[IdempotencyKey]) -> Vec<IdempotencyRow> {
        keys.iter().filter_map(|key| self.keys.get(key).cloned()).collect()
    }

    fn insert_idempotency(&mut self, rows: &[IdempotencyRow]) -> bool {
        let taken = rows.iter().any(|row| self.keys.contains_key(&row.id));
        if !taken {
            self.keys.extend(rows.iter().map(|row| (row.id.clone(), row.clone())));
        }
        !taken
    }

    fn end_idempotency(&mut self, endings: &[(StepNumber, Position)]) -> u64 {
        let mut changed = 0;
        for row in self.keys.values_mut() {
            if let Some((_, position)) = endings.iter().find(|(step, _)| *step == row.step) {
                row.ended_position = Some(*position);
                changed += 1;
            }
        }
        changed
    }

    fn free_idempotency(&mut self, steps: &[StepNumber]) -> u64 {
        let before = self.keys.len();
        self.keys.retain(|_, row| !steps.contains(&row.step));
        (before - self.keys.len()) as u64
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(self.end())
    }
}
