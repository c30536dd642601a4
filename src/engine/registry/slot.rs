//! The place of an engine in the registry: loaded, being loaded, or neither.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::{
    engine::{Engine, EngineError},
    store::writer::WriteError,
};

/// The result of a load, once there is one.
pub(super) type Loading = watch::Receiver<Option<Result<Arc<Engine>, EngineError>>>;

/// What a caller finds in a slot.
enum Joined {
    Loaded(Arc<Engine>),
    Loading {
        load: Loading,
        /// True if this call started the load.
        is_own: bool,
    },
}

/// The place of one engine.
#[derive(Default)]
pub(super) struct Slot {
    engine: OnceLock<Arc<Engine>>,
    /// The load that runs.
    loading: Mutex<Option<Loading>>,
}

impl Slot {
    /// The engine, if it is loaded.
    pub(super) fn get(&self) -> Option<&Arc<Engine>> {
        self.engine.get()
    }

    /// Notes the result of the load that `start` began.
    pub(super) fn loaded(&self, result: &Result<Arc<Engine>, EngineError>) {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(engine) = result {
            // there is one load at a time
            self.engine.get_or_init(|| Arc::clone(engine));
        }
        *loading = None;
    }

    /// The engine after the load that runs, or after one that this call starts: a caller gets the error of
    /// its own load only.
    pub(super) async fn get_or_load(
        self: &Arc<Self>,
        start: impl Fn(&Arc<Self>) -> Loading,
    ) -> Result<Arc<Engine>, EngineError> {
        loop {
            let (mut load, is_own) = match self.join(&start) {
                Joined::Loading { load, is_own } => (load, is_own),
                Joined::Loaded(engine) => return Ok(engine),
            };
            let loaded = match load.wait_for(Option::is_some).await {
                Ok(loaded) => loaded.clone(),
                Err(_) => None,
            };
            match loaded.unwrap_or_else(|| Err(WriteError::Closed.into())) {
                Err(error) if is_own => return Err(error),
                Err(_) => {}
                Ok(engine) => return Ok(engine),
            }
        }
    }

    /// The loaded engine, the load that runs, or else one that this call starts.
    fn join(self: &Arc<Self>, start: impl Fn(&Arc<Self>) -> Loading) -> Joined {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // under the lock: a second instance of an engine would abandon the steps of the first
        if let Some(engine) = self.get() {
            return Joined::Loaded(Arc::clone(engine));
        }
        // a load that panicked has no sender
        if let Some(running) = loading.as_ref().filter(|running| running.has_changed().is_ok()) {
            return Joined::Loading { load: running.clone(), is_own: false };
        }
        Joined::Loading { load: loading.insert(start(self)).clone(), is_own: true }
    }
}
