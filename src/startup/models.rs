//! The model providers of a configuration.

use std::sync::Arc;

use super::{StartError, content_key, providers, store_options};
use crate::{
    config::{Config, LlmProvider},
    engine::{EngineError, read_recorded_answers},
    llm::{Llm, Replay},
    store::{self, Store, StoreError, state_fold::ReplayError},
};

/// The model providers of a configuration. With the provider `replay` this reads all recorded
/// answers from its event log.
pub async fn llm(config: &Config) -> Result<Llm, StartError> {
    let replay = if config.llm.called().contains(&LlmProvider::Replay) {
        recorded_answers(config).await?
    } else {
        Replay::default()
    };
    Ok(providers(&config.llm, &Arc::new(replay))?)
}

/// The answers in the event log of the `replay` provider. The server's own log may still be missing
/// or empty; a log that the configuration names must exist.
async fn recorded_answers(config: &Config) -> Result<Replay, StartError> {
    let named = config.llm.replay.database();
    let own = store_options(&config.database);
    let options = store::Options { url: named.unwrap_or(&own.url).clone(), ..own };
    if named.is_none() && options.sqlite_file()?.is_some_and(|file| !file.exists()) {
        return Ok(Replay::default());
    }
    let store = Store::open_read_only(&options).await?;
    let key = Arc::new(content_key(&config.database, store.path(), false)?);
    let replay = read_recorded_answers(&store, &key, &config.llm.replay.engine).await;
    store.close().await;
    match replay {
        Ok(replay) => {
            tracing::info!(
                event_type = "llm.replay_loaded",
                answers = replay.len(),
                "loaded the recorded answers of the replay provider"
            );
            Ok(replay)
        }
        Err(error) if named.is_none() && is_empty_log(&error) => Ok(Replay::default()),
        Err(error) => Err(error.into()),
    }
}

/// True if the log has no tables yet, or does not contain the engine.
fn is_empty_log(error: &EngineError) -> bool {
    let EngineError::Folding(folding) = error else { return false };
    matches!(
        &**folding,
        ReplayError::Store(StoreError::Unmigrated(_) | StoreError::EngineMissing(_))
    )
}
