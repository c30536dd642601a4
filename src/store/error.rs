//! What can go wrong between us and a database, in words that say what to do.
//!
//! Every driver error is classified here and nowhere else. The driver's error itself is dropped:
//! PostgreSQL puts column values into its details, and no value of a row may reach a log line.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

use crate::domain::ids::{EngineId, Position};

/// A failed request to the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No connection, a lost one, or none free in time. Retry after a pause.
    #[error("the database is unavailable ({0}); check that it runs and is reachable, then retry")]
    Unavailable(String),
    /// A statement or a lock took longer than its limit. Retry after a pause.
    #[error(
        "the database did not answer in time ({0}); retry, or raise the statement or lock timeout"
    )]
    Timeout(String),
    /// The database asks for the whole transaction again (SQLSTATE 40001 or 40P01).
    #[error("the database gave up the transaction ({0}); run it again")]
    Serialization(String),
    /// The disk under the database is full.
    #[error("the database's disk is full ({0}); free space there")]
    DiskFull(String),
    /// The database, or this handle on it, takes no writes.
    #[error("the database is read-only ({0}); use the primary, or open it for writing")]
    ReadOnly(String),
    /// Another process holds the SQLite file.
    #[error(
        "{0} is already served by another process; stop that one, or use PostgreSQL to share a log"
    )]
    Locked(PathBuf),
    /// The database file could not be made or opened.
    #[error("cannot open {path}: {reason}; check the path and its permissions")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The database URL names no database that this program can open.
    #[error(
        "the database URL is not usable: {0}; use sqlite://path/to/file.db or postgres://user@host/name"
    )]
    Url(String),
    /// The tables are missing or not those of this version.
    #[error(
        "the database's tables do not fit this version ({0}); run `mlsdm serve` of this version once, with a direct URL"
    )]
    Unmigrated(String),
    /// No such engine.
    #[error("there is no engine \"{0}\"; create it first")]
    EngineMissing(EngineId),
    /// The engine exists already.
    #[error("there already is an engine \"{0}\"; use it, or choose another name")]
    EngineExists(EngineId),
    /// A stored row does not have the shape every row is written with.
    #[error(
        "the row at position {position} is damaged ({what}); run `mlsdm audit verify` and restore from a backup"
    )]
    Corrupt {
        /// Its position, 0 if that itself is unreadable or the table has none.
        position: Position,
        /// The column or the property at fault.
        what: &'static str,
    },
    /// Anything else the database said.
    #[error("the database refused: {0}; this is a defect or a missing right, see its log")]
    Other(String),
}

/// How a commit can end without success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written.
    #[error("the commit failed: {0}")]
    Failed(#[source] StoreError),
    /// The connection broke before the answer came: it may or may not be written. Lock the engine's
    /// row again (that waits the old transaction out) and look for our command ids in the tail.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(#[source] StoreError),
}

impl StoreError {
    /// Whether the same request can succeed later without anybody changing anything.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout(_) | Self::Serialization(_))
    }
}

/// Turns a driver error into ours.
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

/// PostgreSQL's codes: appendix A of its manual.
fn sqlstate(code: &str, text: String) -> StoreError {
    match code {
        "40001" | "40P01" => StoreError::Serialization(text),
        "53100" => StoreError::DiskFull(text),
        "25006" => StoreError::ReadOnly(text),
        "57014" | "55P03" | "25P03" => StoreError::Timeout(text),
        "42P01" | "42703" | "3F000" => StoreError::Unmigrated(text),
        // too many connections, out of memory, shut-downs, "server conn crashed?" of PgBouncer
        "53300" | "53200" | "57P01" | "57P02" | "57P03" | "57P05" => StoreError::Unavailable(text),
        _ if code.starts_with("08") => StoreError::Unavailable(text),
        _ => StoreError::Other(text),
    }
}

/// SQLite's extended result codes; the low byte is the primary one.
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

/// Sorts the errors of COMMIT: only a clear word of the server means that nothing was written.
pub(super) fn classify_commit(error: sqlx::Error) -> CommitError {
    let certain =
        error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| {
            match code.len() {
                // a server that is going away, or that says itself that it does not know
                5 => !(code.starts_with("57P") || code.starts_with("08") || code == "40003"),
                // SQLITE_IOERR: the journal may or may not have reached the disk
                _ => code.parse().is_ok_and(|code: u32| code & 0xff != 10),
            }
        });
    let error = classify(error);
    if certain { CommitError::Failed(error) } else { CommitError::Unknown(error) }
}

/// Sorts the errors of the migrator.
#[expect(clippy::wildcard_enum_match_arm, reason = "MigrateError is non-exhaustive")]
pub(super) fn classify_migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(error),
        other => StoreError::Unmigrated(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_to_do() {
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
    fn a_commit_that_no_server_answered_is_unknown() {
        let broken = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(classify_commit(broken), CommitError::Unknown(_)));
    }
}
