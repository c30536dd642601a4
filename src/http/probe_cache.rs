//! Caches what health probes ask of the event log, so that any number of probes costs one query per
//! second and no probe waits longer than a second.

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

use super::{Code, Problem};
use crate::{
    domain::ids::{EngineId, Position},
    engine::{Engine, Engines},
    lifecycle::Tasks,
    store::StoreError,
};

/// Age up to which a result is reused.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for the event log.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Time without progress from which a writer counts as overdue.
const STALLED_MAX: Duration = Duration::from_secs(5);

/// The most recent results.
#[derive(Default)]
pub struct ProbeCache {
    writable: Cached<Result<(), StoreError>>,
    heads: Cached<Option<HashMap<EngineId, Position>>>,
    loading: Arc<AtomicBool>,
}

/// A result and the time it was fetched. Concurrent callers wait for one fetch.
struct Cached<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Cached<T> {
    /// The cached result if it is fresh, else a new one; `late` is the result after [`WAIT_MAX`].
    async fn get(&self, fetch: impl Future<Output = T>, late: T) -> T {
        let mut newest = self.0.lock().await;
        if let Some((at, result)) = &*newest
            && at.elapsed() < FRESH
        {
            return result.clone();
        }
        let result = timeout(WAIT_MAX, fetch).await.unwrap_or(late);
        *newest = Some((Instant::now(), result.clone()));
        result
    }
}

impl ProbeCache {
    /// The result of [`Store::ping`](crate::store::Store::ping): an error if the event log does not
    /// accept writes, or if a writer has been waiting for it.
    pub(super) async fn writable(&self, engines: &Engines) -> Result<(), StoreError> {
        let late = Err(StoreError::Timeout("no answer to a ping".to_owned()));
        self.writable.get(engines.parts().store.ping(), late).await?;
        stalled(engines).map_or(Ok(()), |time| {
            let reason = format!("a writer has waited for {} s", time.as_secs());
            Err(StoreError::Timeout(reason))
        })
    }

    /// The last positions of the loaded engines in the event log; `None` if it cannot be read.
    pub(super) async fn heads(&self, engines: &Engines) -> Option<HashMap<EngineId, Position>> {
        let fetch = async {
            let ids: Vec<EngineId> =
                engines.in_memory().iter().map(|engine| engine.id().clone()).collect();
            let heads = engines.parts().store.heads(&ids).await.ok()?;
            Some(heads.into_iter().map(|(id, head)| (id, head.position)).collect())
        };
        self.heads.get(fetch, None).await
    }

    /// The default engine if it is loaded. Otherwise starts to load it and waits at most
    /// [`WAIT_MAX`].
    pub(super) async fn default_engine(
        &self,
        engines: &Engines,
        tasks: &Tasks,
    ) -> Result<Arc<Engine>, Problem> {
        let id = engines.settings().default.clone();
        if let Some(engine) = engines.in_memory().into_iter().find(|e| *e.id() == id) {
            return Ok(engine);
        }
        let not_yet =
            || Problem::new(Code::Starting, "the default engine is being loaded; try again later");
        if self.loading.swap(true, Ordering::AcqRel) {
            return Err(not_yet());
        }
        let (sender, result) = oneshot::channel();
        let (engines, loading) = (engines.clone(), Loading(Arc::clone(&self.loading)));
        // a task of its own: a probe that times out must not discard a half-finished replay
        tasks.spawn("load", async move {
            let _loading = loading;
            // the probe may have given up
            drop(sender.send(engines.get(&id).await));
        });
        match timeout(WAIT_MAX, result).await {
            Ok(Ok(loaded)) => Ok(loaded?),
            Ok(Err(_)) | Err(_) => Err(not_yet()),
        }
    }
}

/// The time for which a writer has waited for the event log, if that is too long.
pub(super) fn stalled(engines: &Engines) -> Option<Duration> {
    let longest = engines.in_memory().iter().map(|engine| engine.stalled_for()).max();
    longest.filter(|time| *time >= STALLED_MAX)
}

/// Resets the flag `loading` when dropped.
struct Loading(Arc<AtomicBool>);

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
