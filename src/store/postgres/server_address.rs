//! The address of a PostgreSQL server, and the cause if no connection to it can be opened.
//!
//! The driver's pool repeats a refused connection until its timeout and then reports the timeout alone. An
//! operator needs the address and the cause.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};

use crate::store::{
    StoreError,
    error::{classify, classify_connect},
    limits::within,
};

/// Limit of the attempt that finds the cause of a timeout.
const ATTEMPT_MAX: Duration = Duration::from_millis(250);

/// What the driver writes before an error of the operating system.
const DRIVER: &str = "error communicating with database: ";

/// The address of a server, and the last cause that was found.
pub(super) struct ServerAddress {
    options: PgConnectOptions,
    last: Mutex<String>,
    attempting: tokio::sync::Mutex<()>,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.options.get_socket() {
            Some(socket) => write!(f, "{}", socket.display()),
            None => write!(f, "{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }
}

impl ServerAddress {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, last: Mutex::default(), attempting: tokio::sync::Mutex::default() }
    }

    /// The error of the first connection. A refused login is an error of the configuration then.
    pub(super) async fn opening_error(&self, error: sqlx::Error) -> StoreError {
        let mut error = error;
        if matches!(error, sqlx::Error::PoolTimedOut)
            && let Err(cause) = self.attempt().await
        {
            error = cause;
        }
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // invalid_authorization_specification, invalid_password, invalid_catalog_name
        let is_login = matches!(code.as_deref(), Some("28000" | "28P01" | "3D000"));
        if is_login {
            return StoreError::Login(format!("{self}: {error}"));
        }
        self.named(classify(error))
    }

    /// The error of a later connection.
    pub(super) async fn connect_error(&self, error: sqlx::Error) -> StoreError {
        if !matches!(error, sqlx::Error::PoolTimedOut) {
            return self.named(classify_connect(error));
        }
        // one attempt for all callers that wait
        let Ok(_attempting) = self.attempting.try_lock() else {
            return self.named(StoreError::Unavailable(self.last()));
        };
        let cause = match self.attempt().await {
            Ok(()) => StoreError::Unavailable("all connections of the pool are in use".to_owned()),
            Err(error) => classify_connect(error),
        };
        if let StoreError::Unavailable(text) = &cause {
            text.clone_into(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.named(cause)
    }

    /// The last cause that was found.
    fn last(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if last.is_empty() { "no connection in time".to_owned() } else { last }
    }

    async fn attempt(&self) -> Result<(), sqlx::Error> {
        let conn = within(ATTEMPT_MAX, self.options.connect()).await?;
        within(ATTEMPT_MAX, conn.close()).await
    }

    fn named(&self, error: StoreError) -> StoreError {
        let StoreError::Unavailable(text) = error else { return error };
        let cause = text.strip_prefix(DRIVER).unwrap_or(&text);
        StoreError::Unavailable(format!("{self}: {cause}"))
    }
}
