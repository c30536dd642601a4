//! Commands that append to event logs directly in the database.

use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;

use super::Context;
use crate::{
    engine::Engines,
    lifecycle::Tasks,
    llm::{Llm, Stub},
    startup::{self, StartError},
    store::StoreError,
};

/// Maximum length of a recorded operating system user in characters.
const ACTOR_MAX: usize = 64;

/// The engines of the configured database, open for writing until [`Self::close`].
pub(super) struct Writing {
    pub(super) engines: Engines,
    tasks: Tasks,
    timeout: Duration,
}

impl Writing {
    /// `advice` is the remediation if a server has locked the SQLite file; PostgreSQL is shared.
    pub(super) async fn open(context: &Context, advice: &'static str) -> anyhow::Result<Self> {
        let config = &context.loaded()?.config;
        let tasks = Tasks::new(Handle::current());
        // runs no step, so it needs no model
        let engines =
            match startup::engine_registry(config, Llm::stub(Stub::default()), &tasks).await {
                Err(StartError::Store(error @ StoreError::Locked(_))) => {
                    return Err(error).context(advice);
                }
                opened => opened?,
            };
        Ok(Self { engines, tasks, timeout: config.api.timeout() })
    }

    /// Stops the writers and closes the database. Returns true if they stopped in time.
    pub(super) async fn close(self) -> bool {
        let store = self.engines.parts().store.clone();
        self.engines.unload_all();
        drop(self.engines);
        let in_time = self.tasks.wait(self.timeout).await;
        store.close().await;
        in_time
    }
}

/// An error unless the writers stopped in time.
pub(super) fn ended(in_time: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        in_time,
        "the writer did not stop in time; run `mlsdm events` to see its events"
    );
    Ok(())
}

/// The operating system user, recorded as the actor.
pub(super) fn actor() -> String {
    let named = ["USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let plain = |name: &String| {
        (1..=ACTOR_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control)
    };
    named.into_iter().find(plain).unwrap_or_else(|| "cli".to_owned())
}
