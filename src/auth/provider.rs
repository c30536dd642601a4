//! The keys of an identity provider: fetched, refreshed, and kept while it is away.
//!
//! Who fetches holds the one place to do so, and after an attempt there is none for a while, so that
//! however many tokens name a key nobody has heard of, the provider is asked once. A fetch is a task
//! of its own: a caller who goes away does not end it for the others. Deliberately not here: the
//! clock, which comes in as an argument, in seconds.

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
    Clock, Reason,
    jwks::{Found, Key, KeySet},
    now,
};
use crate::lifecycle::Tasks;
pub use fetch::ClientError;
pub(super) use fetch::Place;

/// Seconds after which keys are fetched again.
const FRESH: i64 = 3600;
/// Seconds for which keys count that could not be fetched again.
pub(super) const STALE_MAX: i64 = 24 * 3600;
/// Least seconds between two attempts, whoever wants them.
const COOLDOWN: i64 = 10;
/// Seconds between attempts to replace keys that still count.
const RETRY: i64 = 30;
/// Between two looks at whether keys are old.
const TICK: Duration = Duration::from_secs(10);

/// Keys, and since when.
#[derive(Default)]
pub(super) struct Held {
    set: KeySet,
    /// When; 0 for keys that are this server's own and do not age.
    fetched_at: Option<i64>,
    digest: [u8; 32],
    /// Changes whenever the keys do.
    pub(super) generation: u64,
}

impl Held {
    /// Keys that nobody has to fetch.
    pub(super) fn own(set: KeySet) -> Self {
        Self { set, fetched_at: Some(i64::MAX), ..Self::default() }
    }

    /// The key for a token.
    pub(super) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: i64,
    ) -> Result<&Key, Reason> {
        if !self.counts(now) {
            return Err(Reason::KeysUnavailable);
        }
        match self.set.find(kid, algorithm) {
            Found::Key(key) => Ok(key),
            Found::WrongType => Err(Reason::KeyType),
            Found::Nothing => Err(Reason::UnknownKey),
        }
    }

    /// Whether there are keys that are not too old.
    pub(super) fn counts(&self, now: i64) -> bool {
        self.age(now).is_some_and(|age| age <= STALE_MAX)
    }

    /// Seconds since they were fetched.
    pub(super) fn age(&self, now: i64) -> Option<i64> {
        self.fetched_at.map(|at| now.saturating_sub(at).max(0))
    }

    /// How many.
    pub(super) const fn len(&self) -> usize {
        self.set.len()
    }
}

/// An identity provider.
pub(super) struct Provider {
    held: ArcSwap<Held>,
    /// Where to look; who holds it fetches.
    place: Mutex<Place>,
    /// When the last fetch began.
    attempted_at: AtomicI64,
    tasks: Tasks,
}

impl Provider {
    /// One that was not asked yet.
    pub(super) fn new(place: Place, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            held: ArcSwap::default(),
            place: Mutex::new(place),
            attempted_at: AtomicI64::new(i64::MIN),
            tasks,
        })
    }

    /// The keys there are now.
    pub(super) fn held(&self) -> Arc<Held> {
        self.held.load_full()
    }

    /// Fetches the keys, unless that was just tried; waits for whoever is doing it already.
    pub(super) async fn refresh(self: &Arc<Self>, now: i64) {
        if !self.may_ask(now) && self.place.try_lock().is_ok() {
            return;
        }
        let (done, ended) = oneshot::channel();
        let (provider, stop) = (Arc::clone(self), self.tasks.stop().clone());
        self.tasks.spawn("jwks", async move {
            tokio::select! {
                () = provider.fetch(now) => {}
                () = stop.soft() => {}
            }
            // nobody may be left to tell
            done.send(()).ok();
        });
        // an error means that the task was dropped: there are no new keys then
        ended.await.ok();
    }

    fn may_ask(&self, now: i64) -> bool {
        let at = self.attempted_at.load(Ordering::Acquire);
        now.abs_diff(at) >= COOLDOWN.unsigned_abs()
    }

    async fn fetch(&self, now: i64) {
        let mut place = self.place.lock().await;
        // somebody else may have fetched while this waited
        if !self.may_ask(now) {
            return;
        }
        self.attempted_at.store(now, Ordering::Release);
        match place.fetch().await {
            Ok(document) => self.keep(&document, now),
            Err(error) => {
                let age_seconds = self.held().age(now);
                tracing::warn!(
                    event_type = "auth.keys_unavailable",
                    age_seconds,
                    "the identity provider's keys cannot be fetched: {error}"
                );
            }
        }
    }

    fn keep(&self, document: &fetch::Document, now: i64) {
        let (before, digest) = (self.held(), Sha256::digest(&document.bytes).into());
        let changed = before.digest != digest;
        let generation = before.generation + u64::from(changed);
        let set = KeySet::parse(&document.bytes).unwrap_or_default();
        if changed {
            tracing::info!(event_type = "auth.keys_changed", keys = set.len(), "keys are fetched");
        }
        self.held.store(Arc::new(Held { set, fetched_at: Some(now), digest, generation }));
    }

    /// Fetches the keys when they are old: called again and again.
    pub(super) async fn refresh_if_old(self: &Arc<Self>, now: i64) {
        let since = now.abs_diff(self.attempted_at.load(Ordering::Acquire));
        let due = match self.held().age(now) {
            None => true,
            Some(age) => age >= FRESH && since >= RETRY.unsigned_abs(),
        };
        if due {
            self.refresh(now).await;
        }
    }

    /// Keeps the keys fresh until the server stops.
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
