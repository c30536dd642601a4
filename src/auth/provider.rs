//! The keys of an identity provider: fetched, refreshed, and cached while the provider is unreachable.
//!
//! Only one fetch runs at a time, and a cooldown follows each attempt: the provider gets one request
//! however many tokens name an unknown key. A fetch runs in its own task, so that a caller who
//! disconnects does not cancel it for others. Deliberately not here: the clock; times are arguments, in
//! seconds since the Unix epoch.

mod fetch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, oneshot};

use super::{
    Reason,
    clock::{Clock, now},
    jwks::{Key, KeyMatch, KeySet},
};
use crate::lifecycle::Tasks;
pub use fetch::ClientError;
pub(super) use fetch::KeyEndpoint;

/// Age in seconds at which keys are fetched again.
const REFRESH_AFTER: i64 = 3600;
/// Maximum age in seconds of keys that are still used when they cannot be fetched.
const AGE_MAX: i64 = 24 * 3600;
/// Minimum seconds between two attempts.
const COOLDOWN: i64 = 10;
/// Seconds between attempts to replace keys that are still valid.
const RETRY: i64 = 30;
/// Interval at which the refresh task checks the age of the keys.
const TICK: Duration = Duration::from_secs(10);

/// A key set and its age.
#[derive(Default)]
pub(super) struct CachedKeys {
    set: KeySet,
    /// Seconds since the Unix epoch; `i64::MAX` for this server's own keys, which do not age.
    fetched_at: Option<i64>,
    digest: [u8; 32],
    /// Increases whenever the keys change.
    pub(super) generation: u64,
}

impl CachedKeys {
    /// Keys that are not fetched and do not age.
    pub(super) fn permanent(set: KeySet) -> Self {
        Self { set, fetched_at: Some(i64::MAX), ..Self::default() }
    }

    /// Finds the key for a token.
    pub(super) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: i64,
    ) -> Result<&Key, Reason> {
        if !self.is_valid(now) {
            return Err(Reason::KeysUnavailable);
        }
        match self.set.find(kid, algorithm) {
            KeyMatch::Key(key) => Ok(key),
            KeyMatch::WrongType => Err(Reason::KeyType),
            KeyMatch::None => Err(Reason::UnknownKey),
        }
    }

    /// Returns true if the keys were fetched and are not too old.
    pub(super) fn is_valid(&self, now: i64) -> bool {
        self.age(now).is_some_and(|age| age <= AGE_MAX)
    }

    /// Seconds since the keys were fetched.
    pub(super) fn age(&self, now: i64) -> Option<i64> {
        self.fetched_at.map(|at| now.saturating_sub(at).max(0))
    }

    pub(super) const fn len(&self) -> usize {
        self.set.len()
    }
}

/// An identity provider.
pub(super) struct Provider {
    cached: ArcSwap<CachedKeys>,
    /// Locked while a fetch runs.
    endpoint: Mutex<KeyEndpoint>,
    /// Start of the last fetch, in seconds since the Unix epoch.
    attempted_at: AtomicI64,
    tasks: Tasks,
}

impl Provider {
    /// Does not contact the provider yet.
    pub(super) fn new(endpoint: KeyEndpoint, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            cached: ArcSwap::default(),
            endpoint: Mutex::new(endpoint),
            attempted_at: AtomicI64::new(i64::MIN),
            tasks,
        })
    }

    /// The keys as last fetched.
    pub(super) fn cached(&self) -> Arc<CachedKeys> {
        self.cached.load_full()
    }

    /// Fetches the keys, unless the cooldown runs. Waits for a fetch that is already running.
    pub(super) async fn refresh(self: &Arc<Self>, now: i64) {
        if !self.is_cooled_down(now) && self.endpoint.try_lock().is_ok() {
            return;
        }
        let (done, ended) = oneshot::channel();
        let (provider, stop) = (Arc::clone(self), self.tasks.stop().clone());
        self.tasks.spawn("jwks", async move {
            tokio::select! {
                () = provider.fetch(now) => {}
                () = stop.soft() => {}
            }
            // the caller may have disconnected
            done.send(()).ok();
        });
        // an error means that the task was dropped without new keys
        ended.await.ok();
    }

    fn is_cooled_down(&self, now: i64) -> bool {
        let at = self.attempted_at.load(Ordering::Acquire);
        now.abs_diff(at) >= COOLDOWN.unsigned_abs()
    }

    async fn fetch(&self, now: i64) {
        let mut endpoint = self.endpoint.lock().await;
        // another task may have fetched while this one waited for the lock
        if !self.is_cooled_down(now) {
            return;
        }
        self.attempted_at.store(now, Ordering::Release);
        match endpoint.fetch().await {
            Ok(document) => self.store(&document, now),
            Err(error) => {
                let age_seconds = self.cached().age(now);
                tracing::warn!(
                    event_type = "auth.keys_unavailable",
                    age_seconds,
                    "fetching the keys of the identity provider failed: {error}"
                );
            }
        }
    }

    fn store(&self, document: &fetch::Document, now: i64) {
        let (before, digest) = (self.cached(), Sha256::digest(&document.bytes).into());
        let changed = before.digest != digest;
        let generation = before.generation + u64::from(changed);
        let set = KeySet::parse(&document.bytes).unwrap_or_default();
        if changed {
            tracing::info!(
                event_type = "auth.keys_changed",
                keys = set.len(),
                "the keys of the identity provider changed"
            );
        }
        self.cached.store(Arc::new(CachedKeys { set, fetched_at: Some(now), digest, generation }));
    }

    /// Fetches the keys if they are missing or old.
    async fn refresh_if_old(self: &Arc<Self>, now: i64) {
        let since = now.abs_diff(self.attempted_at.load(Ordering::Acquire));
        let due = match self.cached().age(now) {
            None => true,
            Some(age) => age >= REFRESH_AFTER && since >= RETRY.unsigned_abs(),
        };
        if due {
            self.refresh(now).await;
        }
    }

    /// Starts a task that refreshes the keys until the server stops.
    pub(super) fn keep_fresh(self: &Arc<Self>, clock: Clock) {
        let (provider, stop) = (Arc::clone(self), self.tasks.stop().clone());
        self.tasks.spawn("jwks-refresh", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(TICK) => provider.refresh_if_old(now(&clock)).await,
                    () = stop.soft() => return,
                }
            }
        });
    }
}
