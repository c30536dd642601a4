//! What probes ask of the log, at most once a second however many come, and never for longer.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, timeout},
};

use crate::{
    domain::ids::{EngineId, Position},
    engine::Engine,
    http::{AppState, Code, Problem},
    store::StoreError,
};

/// For how long an answer of the log counts.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for the log.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The newest answers.
#[derive(Default)]
pub struct Pulse {
    writable: Fresh<Result<(), StoreError>>,
    heads: Fresh<Option<HashMap<EngineId, Position>>>,
    loading: Arc<AtomicBool>,
}

/// An answer with its age. Who asks while it is being fetched waits for it.
struct Fresh<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Fresh<T> {
    /// The newest answer, fetched again if it is old; `late` is the answer when that takes too long.
    async fn get(&self, fetch: impl Future<Output = T>, late: T) -> T {
        let mut newest = self.0.lock().await;
        if let Some((at, answer)) = &*newest
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = timeout(WAIT_MAX, fetch).await.unwrap_or(late);
        *newest = Some((Instant::now(), answer.clone()));
        answer
    }
}

impl Pulse {
    /// Whether the log takes writes, as [`Store::ping`](crate::store::Store::ping) sees it.
    pub(super) async fn writable(&self, state: &AppState) -> Result<(), StoreError> {
        let late = Err(StoreError::Timeout("no answer to a ping".to_owned()));
        self.writable.get(state.engines.parts().store.ping(), late).await
    }

    /// The heads of the loaded engines' logs; `None` when the log does not say.
    pub(super) async fn heads(&self, state: &AppState) -> Option<HashMap<EngineId, Position>> {
        let fetch = async {
            let ids: Vec<EngineId> =
                state.engines.in_memory().iter().map(|engine| engine.id().clone()).collect();
            let heads = state.engines.parts().store.heads(&ids).await.ok()?;
            Some(heads.into_iter().map(|(id, head)| (id, head.position)).collect())
        };
        self.heads.get(fetch, None).await
    }

    /// The default engine, if it is in memory; if not it is being loaded from now on.
    pub(super) async fn default_engine(&self, state: &AppState) -> Result<Arc<Engine>, Problem> {
        let id = state.engines.settings().default.clone();
        if let Some(engine) = state.engines.in_memory().into_iter().find(|e| *e.id() == id) {
            return Ok(engine);
        }
        let not_yet = || Problem::new(Code::Starting, "the default engine is being loaded");
        if self.loading.swap(true, Ordering::AcqRel) {
            return Err(not_yet());
        }
        let (answer, answered) = oneshot::channel();
        let (engines, loading) = (state.engines.clone(), Loading(Arc::clone(&self.loading)));
        // a task of its own: a probe that gives up must not throw half a replay away
        state.tasks.spawn("load", async move {
            let _loading = loading;
            // nobody may be left to tell
            drop(answer.send(engines.get(&id).await));
        });
        match timeout(WAIT_MAX, answered).await {
            Ok(Ok(loaded)) => Ok(loaded?),
            Ok(Err(_)) | Err(_) => Err(not_yet()),
        }
    }
}

/// That the default engine is being loaded, until dropped.
struct Loading(Arc<AtomicBool>);

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
