//! The options for opening a database.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{error::StoreError, faults::Hooks, limits::CallLimits};
use crate::{
    domain::ids::{Micros, ReplicaId},
    ids,
};

/// Default of the maximum number of connections of a process. Further requests wait up to the
/// connect timeout.
pub const MAX_CONNECTIONS: u32 = 10;
/// Default time after which the server cancels a statement.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Default time for which a writer waits for an engine's row, or for SQLite's write lock.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Default time after which the server ends an idle transaction: a process that stands still with an
/// engine's row must not keep the other processes waiting. A transaction is idle for milliseconds, between
/// two of its statements.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Default time for the answer of the server after its own timeouts.
pub const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// Default time to wait for a connection, new or pooled.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A source of the current time that replaces the log's clock in tests.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// The options for opening a database.
#[derive(Clone)]
pub struct Options {
    /// `sqlite://path/to/file.db` or `postgres://user:password@host/name`.
    pub url: SecretString,
    /// See [`MAX_CONNECTIONS`].
    pub max_connections: u32,
    /// True if PgBouncer in transaction mode is between this process and the server: no named
    /// statements, and every statement in an explicit transaction.
    pub pooler: bool,
    /// See [`STATEMENT_TIMEOUT`]; SQLite has none.
    pub statement_timeout: Duration,
    /// See [`LOCK_TIMEOUT`].
    pub lock_timeout: Duration,
    /// See [`IDLE_TIMEOUT`]; SQLite has none.
    pub idle_timeout: Duration,
    /// See [`ANSWER_MARGIN`]. A statement without an answer is given up after the statement timeout, the lock
    /// timeout and this, a commit after the lock timeout and this.
    pub answer_margin: Duration,
    /// See [`CONNECT_TIMEOUT`]; also the limit of calls that do next to nothing.
    pub connect_timeout: Duration,
    /// A connection that was idle for longer is pinged before use, because its server may be gone; SQLite
    /// has none. The default is a second.
    pub trusted_idle: Duration,
    /// The log's clock; `None` for the database's own (with SQLite, the system clock).
    pub clock: Option<Clock>,
    /// The monotonic clock, in microseconds since any fixed moment; `None` for the system's, or for
    /// `clock` if that is replaced.
    pub monotonic: Option<Clock>,
    /// The id of this process, part of the application name that PostgreSQL shows.
    pub replica: ReplicaId,
    /// Test hooks; empty in a build without tests.
    pub hooks: Hooks,
}

impl Options {
    /// The default options for a database URL.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            max_connections: MAX_CONNECTIONS,
            pooler: false,
            statement_timeout: STATEMENT_TIMEOUT,
            lock_timeout: LOCK_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            answer_margin: ANSWER_MARGIN,
            connect_timeout: CONNECT_TIMEOUT,
            trusted_idle: Duration::from_secs(1),
            clock: None,
            monotonic: None,
            replica: ids::replica_id(),
            hooks: Hooks::default(),
        }
    }

    /// The limits of calls.
    pub(super) fn call_limits(&self) -> CallLimits {
        let commit = self.lock_timeout + self.answer_margin;
        let statement = self.statement_timeout + commit;
        CallLimits { statement, commit, short: self.connect_timeout }
    }

    /// The database system that the URL names.
    pub(super) fn database(&self) -> Result<DatabaseKind, StoreError> {
        let url = self.url.expose_secret();
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Ok(DatabaseKind::Sqlite),
            Some("postgres" | "postgresql") => Ok(DatabaseKind::Postgres),
            _ => Err(StoreError::Url("it starts with neither sqlite: nor postgres:".to_owned())),
        }
    }
}

/// A database system.
pub(super) enum DatabaseKind {
    Sqlite,
    Postgres,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_may_take_as_long_as_the_server_allows() {
        let options = Options::new("postgres://nobody@localhost/none".to_owned());
        let limits = options.call_limits();
        assert!(limits.statement > options.statement_timeout + options.lock_timeout);
        assert!(limits.commit > options.lock_timeout);
    }
}
