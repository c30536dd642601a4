//! The processes that serve a database: each writes a heartbeat row, so that the others know which log
//! format and rules it can read, and whether it is alive.
//!
//! Heartbeats have a time line of their own: the database's clock, but never before a heartbeat that is
//! stored or that this process wrote. The age of a row is measured on that line, so a clock that is set
//! back makes no replica look alive or gone. Version 0.1 writes no heartbeats; PostgreSQL shows its
//! connections.

use std::time::Duration;

use super::{
    Store, StoreError,
    error::classify,
    fleet::{Fleet, SharedFleet},
    postgres,
    records::{Columns, fixed},
    sql,
};
use crate::domain::ids::{Micros, ReplicaId};

/// Interval of a process's heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// Age from which the row of a process without a heartbeat is removed: long after its steps are closed.
const FORGOTTEN_AFTER: Micros = 600_000_000;

/// Most rows that one heartbeat reads, and most that it removes.
const REPLICAS_MAX: i64 = 1_000;

/// The abilities of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The process.
    pub replica: ReplicaId,
    /// The host that it runs on.
    pub host: String,
    /// The version of its binary.
    pub version: String,
    /// The newest log format that it reads.
    pub log_format: u32,
    /// The newest rules that it knows.
    pub rules: u32,
}

/// A row of `replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    /// The process and its abilities.
    pub heartbeat: Heartbeat,
    /// The time of its first heartbeat.
    pub started_at: Micros,
    /// The time of its newest heartbeat.
    pub seen_at: Micros,
}

/// The stored heartbeats and the time of the line that they are on.
#[derive(Clone, Debug)]
pub struct Replicas {
    /// The present time.
    pub now: Micros,
    /// In the order of their start.
    pub rows: Vec<ReplicaRow>,
}

impl Replicas {
    /// The time since the newest heartbeat of a row.
    pub const fn age(&self, row: &ReplicaRow) -> Micros {
        self.now.saturating_sub(row.seen_at)
    }

    /// The abilities that this process and all live ones have: those with a heartbeat that is at most
    /// so old.
    pub fn fleet(&self, own: &Heartbeat, gone_after: Micros) -> Fleet {
        let live = self.rows.iter().filter(|row| self.age(row) <= gone_after);
        let abilities = live.map(|row| &row.heartbeat).chain([own]);
        let fleet = |one: &Heartbeat| Fleet { log_format: one.log_format, rules: one.rules };
        abilities.map(fleet).fold(fleet(own), Fleet::lowest)
    }
}

impl Store {
    /// Notes the abilities that all live processes have.
    pub fn set_fleet(&self, fleet: Fleet) {
        self.shared_fleet().set(fleet);
    }

    pub(super) const fn shared_fleet(&self) -> &SharedFleet {
        match self {
            Self::Sqlite(store) => &store.fleet,
            Self::Postgres(store) => &store.fleet,
        }
    }

    /// Writes a heartbeat, removes forgotten rows, and returns all others.
    pub async fn heartbeat(&self, own: &Heartbeat) -> Result<Replicas, StoreError> {
        let clock = self.clock();
        let (wall, least) = (clock.wall(), clock.heartbeat().unwrap_or_default());
        let id = own.replica.0.as_slice();
        let mut tx = self.begin_tx().await?.short();
        let written = fetch!(
            tx.conn(),
            sql::HEARTBEAT,
            time,
            [
                id,
                own.host.as_str(),
                own.version.as_str(),
                i64::from(own.log_format),
                i64::from(own.rules),
                wall,
                least
            ]
        )?;
        let now = written.first().copied().unwrap_or(least);
        let database = fetch!(tx.conn(), sql::DATABASE_TIME, maybe_time, [])?;
        let mut rows = fetch!(tx.conn(), sql::REPLICAS, replica, [REPLICAS_MAX])?;
        let oldest = now.saturating_sub(FORGOTTEN_AFTER);
        if rows.iter().any(|row| row.seen_at < oldest) {
            execute!(tx.conn(), sql::PURGE_REPLICAS, [oldest, REPLICAS_MAX]).map_err(classify)?;
            rows.retain(|row| row.seen_at >= oldest);
        }
        tx.commit_repeatable().await?;
        clock.wrote_heartbeat(now);
        clock.saw_database(database.into_iter().next().flatten());
        Ok(Replicas { now, rows })
    }

    /// The present time for a new log: the database's, or on SQLite the system's.
    pub async fn time(&self) -> Result<Micros, StoreError> {
        let clock = self.clock();
        if let Some(wall) = clock.wall() {
            return Ok(wall);
        }
        let mut reader = self.reader().await?.short();
        let database = fetch!(reader.conn(), sql::DATABASE_TIME, maybe_time, [])?;
        reader.done().await?;
        clock.saw_database(database.into_iter().next().flatten());
        Ok(clock.local())
    }

    /// The stored heartbeats.
    pub async fn replicas(&self) -> Result<Replicas, StoreError> {
        let clock = self.clock();
        let (wall, least) = (clock.wall(), clock.heartbeat().unwrap_or_default());
        let mut reader = self.reader().await?;
        let now = fetch!(reader.conn(), sql::HEARTBEAT_TIME, time, [wall, least])?;
        let rows = fetch!(reader.conn(), sql::REPLICAS, replica, [REPLICAS_MAX])?;
        reader.done().await?;
        Ok(Replicas { now: now.first().copied().unwrap_or(least), rows })
    }

    /// Removes the row of a process that stops.
    pub async fn remove_replica(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let mut tx = self.begin_tx().await?.short();
        let done = execute!(tx.conn(), sql::REMOVE_REPLICA, [replica.0.as_slice()]);
        done.map_err(classify)?;
        tx.commit_repeatable().await
    }

    /// The number of connections of processes with version 0.1. SQLite has one process at a time.
    pub async fn old_connections(&self) -> Result<u64, StoreError> {
        if self.has_one_owner() {
            return Ok(0);
        }
        let mut reader = self.reader().await?;
        let count = fetch!(reader.conn(), sql::CONNECTIONS, time, [postgres::APPLICATION])?;
        reader.done().await?;
        Ok(count.first().copied().unwrap_or_default() as u64)
    }
}

fn time(row: &impl Columns) -> Result<Micros, StoreError> {
    row.int(0).map_err(classify)
}

fn maybe_time(row: &impl Columns) -> Result<Option<Micros>, StoreError> {
    row.maybe_int(0).map_err(classify)
}

fn replica(row: &impl Columns) -> Result<ReplicaRow, StoreError> {
    let version = |column: usize, what: &'static str| {
        let value = row.int(column).map_err(classify)?;
        value.try_into().map_err(|_| StoreError::Corrupt { position: 0, what })
    };
    Ok(ReplicaRow {
        heartbeat: Heartbeat {
            replica: ReplicaId(fixed(0, "replicas.replica", row.bytes(0))?),
            host: row.text(1).map_err(classify)?,
            version: row.text(2).map_err(classify)?,
            log_format: version(3, "replicas.log_format")?,
            rules: version(4, "replicas.rules")?,
        },
        started_at: row.int(5).map_err(classify)?,
        seen_at: row.int(6).map_err(classify)?,
    })
}
