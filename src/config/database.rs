//! `database`: the database of the event log.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::error::{Fault, check};

/// The database and its content key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://…` or `postgres://…`; may contain a password.
    pub url: SecretString,
    /// Maximum size of the connection pool, 1..=1000.
    pub max_connections: u32,
    /// Set if connections go through a pooler in transaction mode, such as PgBouncer.
    pub pooler: bool,
    acquire_timeout_seconds: u64,
    statement_timeout_seconds: u64,
    lock_timeout_seconds: u64,
    idle_transaction_timeout_ms: u64,
    answer_margin_seconds: u64,
    content_key: SecretString,
}

impl Database {
    /// Timeout for acquiring a connection.
    pub const fn acquire_timeout(&self) -> Duration {
        Duration::from_secs(self.acquire_timeout_seconds)
    }

    /// Timeout of a statement.
    pub const fn statement_timeout(&self) -> Duration {
        Duration::from_secs(self.statement_timeout_seconds)
    }

    /// Timeout for a row lock.
    pub const fn lock_timeout(&self) -> Duration {
        Duration::from_secs(self.lock_timeout_seconds)
    }

    /// Timeout of a transaction that is idle between two of its statements.
    pub const fn idle_transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_transaction_timeout_ms)
    }

    /// Time for the answer of the server after its own timeouts.
    pub const fn answer_margin(&self) -> Duration {
        Duration::from_secs(self.answer_margin_seconds)
    }

    /// Returns true if several processes can write to the database.
    pub fn is_shared(&self) -> bool {
        !self.url.expose_secret().starts_with("sqlite:")
    }

    /// The key that encrypts the keys of all contents, if one is given.
    pub fn content_key(&self) -> Option<&SecretString> {
        Some(&self.content_key).filter(|key| !key.expose_secret().is_empty())
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let url = self.url.expose_secret();
        let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|s| url.starts_with(s));
        check(known, "database.url", "sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME")?;
        let connections = (1..=1000).contains(&self.max_connections);
        check(connections, "database.max_connections", "between 1 and 1000")?;
        let acquire = (1..=600).contains(&self.acquire_timeout_seconds);
        check(acquire, "database.acquire_timeout_seconds", "between 1 and 600")?;
        let statement = (1..=3600).contains(&self.statement_timeout_seconds);
        check(statement, "database.statement_timeout_seconds", "between 1 and 3600")?;
        let lock = (1..=600).contains(&self.lock_timeout_seconds);
        check(lock, "database.lock_timeout_seconds", "between 1 and 600")?;
        let idle = self.idle_transaction_timeout();
        let is_below = idle >= Duration::from_millis(500) && idle < self.lock_timeout();
        let below = "at least 500, and less than database.lock_timeout_seconds";
        check(is_below, "database.idle_transaction_timeout_ms", below)?;
        let margin = (1..=600).contains(&self.answer_margin_seconds);
        check(margin, "database.answer_margin_seconds", "between 1 and 600")
    }
}
