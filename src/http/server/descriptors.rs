//! The share of the process's file descriptors that clients may use.
//!
//! The listener takes whatever comes, so without a bound the clients of a busy server take the descriptors
//! that its database and its models need: it would accept requests that it cannot serve. A connection
//! beyond the bound waits in the kernel's queue until another one is closed.

use rlimit::{Resource, getrlimit, setrlimit};

/// Limit of open files below which a server warns at its start.
const SCARCE: u64 = 1_024;

/// Descriptors for files, listeners, telemetry and the runtime.
const RESERVE: u64 = 64;

/// Descriptors of a connection to the database: SQLite opens the file, its log and its index.
const PER_DATABASE_CONNECTION: u64 = 3;

/// Connections that are accepted however few descriptors there are.
const CONNECTIONS_MIN: u64 = 8;

/// Connections that a worker accepts if descriptors abound.
const PER_WORKER_MAX: u64 = 25_600;

/// The number of connections that each worker may accept. Raises the soft limit of open files to the hard
/// one, as the soft one is low for the sake of programs that use `select`.
pub(super) fn connections_per_worker(workers: usize, database_connections: u32) -> usize {
    let limit = raise_limit();
    let connections = connections(limit, u64::from(database_connections));
    if limit < SCARCE {
        tracing::warn!(
            event_type = "server.descriptors",
            limit,
            connections,
            "the limit of open files (RLIMIT_NOFILE) is low: few connections are accepted at a time; raise it \
             to at least {SCARCE}"
        );
    }
    let per_worker = connections / u64::try_from(workers).unwrap_or(1).max(1);
    per_worker.clamp(1, PER_WORKER_MAX) as usize
}

/// The connections that fit below the limit of open files.
fn connections(limit: u64, database_connections: u64) -> u64 {
    let reserved = RESERVE + PER_DATABASE_CONNECTION * database_connections;
    // a request may hold a second connection, to a model
    (limit.saturating_sub(reserved) / 2).max(CONNECTIONS_MIN)
}

/// The soft limit of open files after it was raised; unlimited if it cannot be read.
fn raise_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::NOFILE) else { return u64::MAX };
    let is_raised = soft < hard && setrlimit(Resource::NOFILE, hard, hard).is_ok();
    if is_raised { hard } else { soft }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_and_the_models_have_their_share_of_the_descriptors() {
        assert_eq!(connections(1_024, 10), (1_024 - 64 - 30) / 2);
        assert_eq!(connections(64, 10), CONNECTIONS_MIN, "it still serves");
        assert_eq!(connections(0, 1_000), CONNECTIONS_MIN);
    }

    #[test]
    fn the_limit_of_open_files_is_the_one_in_force() {
        let raised = raise_limit();
        assert_eq!(raised, getrlimit(Resource::NOFILE).unwrap().0);
    }
}
