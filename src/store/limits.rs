//! The limits of calls to the database, on this side of the connection.
//!
//! The server's own timeouts end a statement that runs for too long. They are of no use when the server
//! does not answer at all: its host lost power, a NAT dropped the flow. TCP then waits for ever if it has
//! nothing to send, and the driver offers no socket options. So every call has a limit here too, and a
//! call that exceeds it is an error of the connection.

use std::{future::Future, io, time::Duration};

use tokio::time::timeout;

/// Limit of a ping. A connection that needs longer is replaced.
pub(super) const PING_MAX: Duration = Duration::from_secs(1);

/// Limit of what operators run at their own pace: migrations, the truncation of a log file.
pub(super) const MAINTENANCE_MAX: Duration = Duration::from_hours(1);

/// The limits of calls by their kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallLimits {
    /// A statement: the timeouts of the server, and a margin for its answer.
    pub(super) statement: Duration,
    /// COMMIT: it has waited for its lock before.
    pub(super) commit: Duration,
    /// Calls that do next to nothing: BEGIN, ROLLBACK, heads, heartbeats.
    pub(super) short: Duration,
}

/// The result of a call; after `limit` an error of the connection.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, call).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} s", limit.as_secs_f32());
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_is_an_error_of_the_connection() {
        let silent = within(PING_MAX, std::future::pending::<Result<(), _>>()).await;
        assert!(matches!(silent, Err(sqlx::Error::Io(_))), "{silent:?}");
    }
}
