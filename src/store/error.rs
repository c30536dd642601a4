//! Errors of the store, classified by their remedy.
//!
//! All driver errors are classified here. The driver's own error is dropped: PostgreSQL includes
//! column values in its details, and no value of a row may reach a log.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

use super::migrations;
use crate::domain::ids::{EngineId, Position};

/// An error of the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No connection could be opened, it was lost, or none was free in time. Retry after a pause.
    #[error("the database is unavailable ({0}); check that it runs and is reachable, then retry")]
    Unavailable(String),
    /// A statement or a lock exceeded its timeout. Retry after a pause.
    #[error(
        "the database did not answer in time ({0}); retry, or raise the statement or lock timeout"
    )]
    Timeout(String),
    /// The transaction must be retried (SQLSTATE 40001 or 40P01).
    #[error("the database aborted the transaction ({0}); retry it")]
    Serialization(String),
    /// The disk of the database is full.
    #[error("the disk of the database is full ({0}); free space on it")]
    DiskFull(String),
    /// The database, or this handle to it, is read-only.
    #[error("the database is read-only ({0}); use the primary, or open it for writing")]
    ReadOnly(String),
    /// Another process holds the SQLite file.
    #[error("another process is using {0}; stop it, or use PostgreSQL to share a log")]
    Locked(PathBuf),
    /// The database file could not be created or opened.
    #[error("cannot open {path}: {reason}; check the path and its permissions")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// A file of the open SQLite database was removed or replaced. Writes would be lost.
    #[error(
        "{path} {change} while it was open, so new events would be lost; stop the server, restore \
         the file, and start the server again"
    )]
    FileChanged {
        /// The file.
        path: PathBuf,
        /// Its change.
        change: &'static str,
    },
    /// The database URL is invalid or has an unsupported scheme.
    #[error(
        "the database URL is invalid: {0}; use sqlite://path/to/file.db or postgres://user@host/name"
    )]
    Url(String),
    /// The server refused the login of the first connection, or has no such database.
    #[error(
        "the database refused the login ({0}); check the user, the password and the name of the database in \
         database.url"
    )]
    Login(String),
    /// The tables are missing or have a different version.
    #[error(
        "the database's tables do not match this version ({0}); run `mlsdm upgrade tables` of this version as the \
         owner of the tables, with a direct URL"
    )]
    Unmigrated(String),
    /// A migration of the database is newer than this version, or differs from this version's.
    #[error("{0}")]
    OtherSchema(String),
    /// The engine does not exist.
    #[error("there is no engine \"{0}\"; create it first")]
    EngineMissing(EngineId),
    /// The engine exists already.
    #[error("engine \"{0}\" already exists; use it, or choose another name")]
    EngineExists(EngineId),
    /// A stored row has an invalid form.
    #[error("{}", damaged(*position, what))]
    Corrupt {
        /// The position; 0 if it is unreadable or the table has none.
        position: Position,
        /// The invalid column or property.
        what: &'static str,
    },
    /// The role of the database lacks a privilege (SQLSTATE 42501), or its login was refused.
    #[error(
        "the database refused the role ({0}); check its password and grant it the missing privilege"
    )]
    Denied(String),
    /// Any other error of the database.
    #[error("the database reported an error: {0}; see its log")]
    Other(String),
}

/// The error of a commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing was committed.
    #[error("the commit failed: {0}")]
    Failed(#[source] StoreError),
    /// The connection broke before the response, so the transaction may be committed. Lock the
    /// engine's row again, which waits for the old transaction to end, and search the tail of the
    /// log for the command ids.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(#[source] StoreError),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl StoreError {
    /// True if a retry of the same request can succeed without intervention.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout(_) | Self::Serialization(_))
    }

    /// True if the same write may succeed later: after a pause, a failover, or help at the database.
    pub const fn may_pass(&self) -> bool {
        self.is_transient()
            || matches!(self, Self::ReadOnly(_) | Self::DiskFull(_) | Self::FileChanged { .. })
    }
}

/// Classifies a driver error.
#[expect(clippy::needless_pass_by_value, reason = "used as map_err(classify)")]
#[expect(clippy::wildcard_enum_match_arm, reason = "sqlx::Error is non-exhaustive")]
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(db) => {
            let text = format!("{}: {}", db.code().unwrap_or_default(), db.message());
            match db.code() {
                Some(code) if code.len() == 5 => sqlstate(&code, text),
                Some(code) => sqlite(code.parse().unwrap_or(0), db.message(), text),
                None => StoreError::Other(text),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::BeginFailed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.to_string()),
        sqlx::Error::Configuration(_) => StoreError::Url("it cannot be parsed".to_owned()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            StoreError::Corrupt { position: 0, what: "a column of another type" }
        }
        _ => StoreError::Other(error.to_string()),
    }
}

/// Classifies an error of opening a connection, or of our BEGIN, while the server runs.
///
/// The login and the statement are known to be right, so the server is at fault whatever it says: a standby
/// refuses a transaction that writes (0A000), a server that starts, stops or is closed for maintenance
/// refuses the login (57P03, 55000, 28000).
pub(super) fn classify_connect(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.as_deref() == Some("0A000") {
        return StoreError::ReadOnly(error.to_string());
    }
    let classified = classify(error);
    if let StoreError::Denied(text) | StoreError::Other(text) | StoreError::Unmigrated(text) =
        classified
    {
        return StoreError::Unavailable(text);
    }
    classified
}

/// True if the connection cannot be used again: it broke, a call on it had no answer, the server ends it,
/// or the server does not accept writes (any more).
#[expect(clippy::wildcard_enum_match_arm, reason = "sqlx::Error is non-exhaustive")]
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(db) => db.code().is_some_and(|code| {
            code.starts_with("57P")
                || code.starts_with("08")
                || ["25006", "25P02", "25P03"].contains(&&*code)
        }),
        _ => false,
    }
}

/// True if other connections to the server are most probably lost too; not if the server ended this one
/// because it was idle.
pub(super) fn is_server_lost(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    is_lost(error) && !matches!(code.as_deref(), Some("25P02" | "25P03" | "57P05"))
}

/// Classifies by SQLSTATE (PostgreSQL documentation, appendix A).
fn sqlstate(code: &str, text: String) -> StoreError {
    match code {
        "40001" | "40P01" => StoreError::Serialization(text),
        "53100" => StoreError::DiskFull(text),
        "25006" => StoreError::ReadOnly(text),
        "57014" | "55P03" | "25P03" => StoreError::Timeout(text),
        // an undefined table, column, function or schema
        "42P01" | "42703" | "42883" | "3F000" => StoreError::Unmigrated(text),
        // too many connections, out of memory, shut-downs, "server conn crashed?" of PgBouncer, and a
        // failed transaction that was left on the connection
        "53300" | "53200" | "57P01" | "57P02" | "57P03" | "57P05" | "25P02" => {
            StoreError::Unavailable(text)
        }
        _ if code.starts_with("08") => StoreError::Unavailable(text),
        // invalid_authorization_specification, invalid_password, insufficient_privilege
        "28000" | "28P01" | "42501" => StoreError::Denied(text),
        _ => StoreError::Other(text),
    }
}

/// Classifies by SQLite's extended result code, whose low byte is the primary code.
fn sqlite(code: u32, message: &str, text: String) -> StoreError {
    match code & 0xff {
        5 | 6 => StoreError::Timeout(text),
        8 => StoreError::ReadOnly(text),
        10 | 14 => StoreError::Unavailable(text),
        11 | 26 => StoreError::Corrupt { position: 0, what: "the database file" },
        13 => StoreError::DiskFull(text),
        1 if message.starts_with("no such table") || message.starts_with("no such column") => {
            StoreError::Unmigrated(text)
        }
        _ => StoreError::Other(text),
    }
}

/// Classifies an error of COMMIT. Only a definite answer of the server proves that nothing was
/// committed.
pub(super) fn classify_commit(error: sqlx::Error) -> CommitError {
    let certain =
        error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| {
            match code.len() {
                // the server is shutting down, or reports that the outcome is unknown
                5 => !(code.starts_with("57P") || code.starts_with("08") || code == "40003"),
                // SQLITE_IOERR: the journal may or may not have reached the disk
                _ => code.parse().is_ok_and(|code: u32| code & 0xff != 10),
            }
        });
    let error = classify(error);
    if certain { CommitError::Failed(error) } else { CommitError::Unknown(error) }
}

/// Classifies an error of the migrator.
#[expect(clippy::wildcard_enum_match_arm, reason = "MigrateError is non-exhaustive")]
pub(super) fn classify_migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(error),
        MigrateError::VersionMissing(version) => {
            StoreError::OtherSchema(migrations::newer(version))
        }
        MigrateError::VersionMismatch(version) => {
            StoreError::OtherSchema(migrations::other(version))
        }
        other => StoreError::Unmigrated(other.to_string()),
    }
}

/// The damage of a row, or of something that has no position.
fn damaged(position: Position, what: &str) -> String {
    if position == 0 {
        return format!("{what} is damaged; restore the database from a backup");
    }
    format!(
        "the row at position {position} is damaged ({what}); run `mlsdm audit verify` and restore from a \
         backup"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classified_by_remedy() {
        let text = String::new;
        for (code, expected) in [
            ("40001", StoreError::Serialization(text())),
            ("40P01", StoreError::Serialization(text())),
            ("53100", StoreError::DiskFull(text())),
            ("25006", StoreError::ReadOnly(text())),
            ("57014", StoreError::Timeout(text())),
            ("55P03", StoreError::Timeout(text())),
            ("57P01", StoreError::Unavailable(text())),
            ("57P03", StoreError::Unavailable(text())),
            ("08006", StoreError::Unavailable(text())),
            ("53300", StoreError::Unavailable(text())),
            ("42P01", StoreError::Unmigrated(text())),
            ("42883", StoreError::Unmigrated(text())),
            ("42501", StoreError::Denied(text())),
            ("28P01", StoreError::Denied(text())),
            ("23505", StoreError::Other(text())),
        ] {
            assert_eq!(sqlstate(code, text()), expected, "{code}");
        }
        for (code, expected) in [
            (5, StoreError::Timeout(text())),
            (517, StoreError::Timeout(text())),
            (8, StoreError::ReadOnly(text())),
            (13, StoreError::DiskFull(text())),
            (778, StoreError::Unavailable(text())),
            (2067, StoreError::Other(text())),
        ] {
            assert_eq!(sqlite(code, "", text()), expected, "{code}");
        }
    }

    #[test]
    fn damage_without_a_position_names_none() {
        let damaged = StoreError::Corrupt { position: 0, what: "the database file" };
        let text = damaged.to_string();
        assert_eq!(text, "the database file is damaged; restore the database from a backup");
    }

    #[test]
    fn a_commit_without_a_response_is_unknown() {
        let broken = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(classify_commit(broken), CommitError::Unknown(_)));
    }
}
