//! Maps errors to exit codes.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use super::{
    backup::BackupError,
    client::{InvalidServer, Unreachable},
    login::LoginError,
    token::NoToken,
};
use crate::{
    auth::dev::DevKeyError,
    config::ConfigError,
    embed::EmbedError,
    engine::{EngineError, migrate::MigrateError},
    http::server::ServeError,
    startup::StartError,
    store::{StoreError, state_fold::ReplayError, writer::WriteError},
};

/// Wrong usage, or an invalid configuration.
pub(super) const USAGE: u8 = 2;
/// A server, database or identity provider cannot be reached.
const UNREACHABLE: u8 = 3;

/// Prints the error on standard error and returns its exit code.
pub(super) fn code(program: &str, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(closed) {
        // the reader, such as `head`, has closed the pipe
        return ExitCode::SUCCESS;
    }
    let written = writeln!(io::stderr().lock(), "{program}: {}", chain(&error));
    let code = if is_usage(&error) {
        ExitCode::from(USAGE)
    } else if error.is::<Unreachable>()
        || store_error(&error).is_some_and(is_unreachable)
        || matches!(error.downcast_ref(), Some(MigrateError::Embed(EmbedError::Unreachable)))
        || matches!(error.downcast_ref(), Some(LoginError::Unreachable))
    {
        ExitCode::from(UNREACHABLE)
    } else {
        ExitCode::FAILURE
    };
    written.map_or(ExitCode::FAILURE, |()| code)
}

/// The error and its causes. A cause that the text before it already contains is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<Arc<ConfigError>>()
        || error.is::<ConfigError>()
        || error.is::<InvalidServer>()
        || error.is::<NoToken>()
        || error.is::<DevKeyError>()
        || matches!(
            error.downcast_ref(),
            Some(
                StartError::NoContentKey
                    | StartError::Llm(_)
                    | StartError::Embedder(_)
                    | StartError::Auth(_)
            )
        )
        || matches!(error.downcast_ref(), Some(ServeError::Tls(_)))
        || matches!(error.downcast_ref(), Some(MigrateError::Itself))
        || matches!(error.downcast_ref(), Some(LoginError::NotConfigured))
        || matches!(
            error.downcast_ref(),
            Some(BackupError::NotSqlite | BackupError::KeyIsConfigured)
        )
        || matches!(store_error(error), Some(StoreError::Url(_) | StoreError::Login(_)))
}

/// Returns true if the database cannot be reached.
pub(super) const fn is_unreachable(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Timeout(_) | StoreError::File { .. })
}

/// The store error in the chain, if there is one.
fn store_error(error: &anyhow::Error) -> Option<&StoreError> {
    let start = || match error.downcast_ref()? {
        StartError::Store(error) => Some(error),
        StartError::Engine(error) => of_engine(error),
        StartError::Key(_)
        | StartError::NoContentKey
        | StartError::LogMissing { .. }
        | StartError::Llm(_)
        | StartError::Embedder(_)
        | StartError::Auth(_) => None,
    };
    let migrate = || match error.downcast_ref()? {
        MigrateError::Engine(error) => of_engine(error),
        MigrateError::Itself | MigrateError::NotACopy { .. } | MigrateError::Embed(_) => None,
    };
    let engine = || of_engine(error.downcast_ref()?);
    error.downcast_ref::<StoreError>().or_else(start).or_else(migrate).or_else(engine)
}

const fn of_folding(error: &ReplayError) -> Option<&StoreError> {
    match error {
        ReplayError::Store(error) => Some(error),
        ReplayError::Damage(_) => None,
    }
}

fn of_engine(error: &EngineError) -> Option<&StoreError> {
    match error {
        EngineError::Folding(folding) => of_folding(folding),
        EngineError::Write(WriteError::Store(error)) => Some(error),
        EngineError::Write(_)
        | EngineError::Seal(_)
        | EngineError::Embedder { .. }
        | EngineError::Empty(_)
        | EngineError::Beyond { .. }
        | EngineError::Before(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_written_once() {
        let cause = anyhow::anyhow!("log format 99 is newer than 2");
        let repeated =
            cause.context("engine: log format 99 is newer than 2").context("cannot start");
        assert_eq!(chain(&repeated), "cannot start: engine: log format 99 is newer than 2");
    }
}
