//! How often each holder may ask: one token bucket (GCRA, by `governor`) a holder.
//!
//! A holder is an actor or, without one, a client address; of IPv6 addresses the network of 64 bits,
//! which is what one household gets. A bucket holds a burst of requests and is refilled evenly. The
//! number of buckets is bounded: holders beyond it share one bucket, so that a flood of identities
//! costs strangers their comfort and the server no memory. Buckets that are full again say nothing
//! and are swept in the background. Counts are those of this process: with replicas behind a load
//! balancer each grants the rate. Deliberately not here: who the holder of a request is
//! ([`crate::http::rate`]), and money ([`crate::domain::budget`]).

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::lifecycle::Stop;

/// Parts of the map with a lock each; a sweep holds one at a time.
const SHARDS: usize = 16;

/// Pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Who a rate is granted to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Somebody who has proven who he is.
    Actor(String),
    /// Somebody at an address; made by [`Holder::at`].
    Address(IpAddr),
}

impl Holder {
    /// The holder at an address.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// So many requests in so long a time, and so many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a window, in the long run.
    pub requests: NonZeroU32,
    /// The window.
    pub window: Duration,
    /// Requests that may come at once.
    pub burst: NonZeroU32,
}

/// Most requests of a window or a burst.
const REQUESTS_MAX: u32 = 1_000_000;
/// Longest window in seconds.
const WINDOW_MAX: u64 = 86_400;
/// A burst is this part of the requests of a window, unless it is given.
const BURST_PART: u32 = 5;

impl Rate {
    /// The rate of these numbers, if each is within its bounds: requests and bursts between 1 and
    /// 1,000,000, seconds between 1 and 86,400.
    pub fn new(requests: u32, seconds: u64, burst: Option<u32>) -> Option<Self> {
        let bounded = |n: u32| NonZeroU32::new(n).filter(|n| n.get() <= REQUESTS_MAX);
        let seconds = Some(seconds).filter(|seconds| (1..=WINDOW_MAX).contains(seconds))?;
        Some(Self {
            requests: bounded(requests)?,
            window: Duration::from_secs(seconds),
            burst: bounded(burst.unwrap_or_else(|| (requests / BURST_PART).max(1)))?,
        })
    }

    /// The time in which one more request is granted; never zero.
    pub fn interval(&self) -> Duration {
        (self.window / self.requests.get()).max(Duration::from_nanos(1))
    }

    fn quota(&self) -> Option<Quota> {
        Some(Quota::with_period(self.interval())?.allow_burst(self.burst))
    }
}

/// What a holder may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The rate.
    pub rate: Rate,
    /// Requests that would be granted now, at most the burst.
    pub remaining: u32,
    /// Until the whole burst is there again.
    pub reset: Duration,
}

/// A request too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; wait {retry_after:?}")]
pub struct TooMany {
    /// What the holder may still do: nothing.
    pub left: Left,
    /// Until the next request is granted.
    pub retry_after: Duration,
}

/// Time since the limiter was made, by the clock that tests may move.
#[derive(Clone, Copy, Debug)]
struct Elapsed(Instant);

impl Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Gcra = RateLimiter<NotKeyed, InMemoryState, Elapsed, StateInformationMiddleware>;

/// What one holder has left.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    gcra: Option<Gcra>,
    /// When the whole burst is there again.
    full_at: Duration,
}

impl Bucket {
    fn new(rate: Rate, clock: Elapsed) -> Self {
        let gcra = rate.quota().map(|quota| {
            RateLimiter::direct_with_clock(quota, clock)
                .with_middleware::<StateInformationMiddleware>()
        });
        Self { rate, gcra, full_at: Duration::ZERO }
    }

    fn left(&self, now: Duration) -> Left {
        let reset = self.full_at.saturating_sub(now);
        let missing = reset.as_nanos().div_ceil(self.rate.interval().as_nanos());
        let remaining = self.rate.burst.get().saturating_sub(missing as u32);
        Left { rate: self.rate, remaining, reset }
    }

    fn take(&mut self, clock: Elapsed) -> Result<Left, TooMany> {
        let now = clock.now();
        let Some(gcra) = &self.gcra else { return Ok(self.left(now)) };
        match gcra.check() {
            Ok(snapshot) => {
                let missing = self.rate.burst.get() - snapshot.remaining_burst_capacity();
                // a part of a request that is there already is not seen: never too early
                self.full_at = now + self.rate.interval() * missing;
                Ok(self.left(now))
            }
            Err(until) => {
                let left = Left { remaining: 0, ..self.left(now) };
                Err(TooMany { left, retry_after: until.wait_time_from(now) })
            }
        }
    }
}

/// The buckets of all holders.
#[derive(Debug)]
pub struct Rates {
    default: Rate,
    roles: Vec<(String, Rate)>,
    shards: [Mutex<HashMap<Holder, Bucket>>; SHARDS],
    shard_max: usize,
    /// Of all holders for whom there is no room.
    shared: Mutex<Bucket>,
    hasher: RandomState,
    clock: Elapsed,
}

impl Rates {
    /// Rates of which nothing is used; `roles` have rates of their own, and at most `holders` have
    /// buckets of their own.
    pub fn new(default: Rate, roles: Vec<(String, Rate)>, holders: usize) -> Self {
        let clock = Elapsed(Instant::now());
        Self {
            default,
            roles,
            shards: std::array::from_fn(|_| Mutex::default()),
            shard_max: (holders / SHARDS).max(1),
            shared: Mutex::new(Bucket::new(default, clock)),
            hasher: RandomState::new(),
            clock,
        }
    }

    /// The rate of somebody in these roles: the highest of theirs, else everybody's.
    pub fn of_roles<'a>(&self, roles: impl IntoIterator<Item = &'a str>) -> Rate {
        let rate = |role: &str| self.roles.iter().find(|(name, _)| name == role);
        let rates = roles.into_iter().filter_map(rate).map(|(_, rate)| *rate);
        rates.min_by_key(Rate::interval).unwrap_or(self.default)
    }

    /// Takes one request off a holder's bucket, or says how long to wait. A holder whose rate has
    /// changed begins anew.
    pub fn take(&self, holder: &Holder, rate: Rate) -> Result<Left, TooMany> {
        let mut shard = self.shard(holder);
        if let Some(bucket) = shard.get_mut(holder) {
            if bucket.rate != rate {
                *bucket = Bucket::new(rate, self.clock);
            }
            return bucket.take(self.clock);
        }
        if shard.len() < self.shard_max {
            let bucket = Bucket::new(rate, self.clock);
            return shard.entry(holder.clone()).or_insert(bucket).take(self.clock);
        }
        drop(shard);
        lock(&self.shared).take(self.clock)
    }

    /// What a holder has left, without taking any of it.
    pub fn left(&self, holder: &Holder, rate: Rate) -> Left {
        let now = self.clock.now();
        let shard = self.shard(holder);
        match shard.get(holder) {
            Some(bucket) if bucket.rate == rate => bucket.left(now),
            None if shard.len() >= self.shard_max => lock(&self.shared).left(now),
            Some(_) | None => Left { rate, remaining: rate.burst.get(), reset: Duration::ZERO },
        }
    }

    /// Buckets in memory, without the shared one.
    pub fn buckets(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Forgets holders who have everything left, for whom a new bucket would be the same.
    pub fn sweep(&self) {
        for shard in &self.shards {
            let now = self.clock.now();
            let mut shard = lock(shard);
            shard.retain(|_, bucket| bucket.full_at > now);
            if shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
        }
    }

    /// Sweeps now and then until the server stops.
    pub async fn sweep_until(self: Arc<Self>, stop: Stop) {
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.soft() => return,
                _ = ticks.tick() => self.sweep(),
            }
        }
    }

    fn shard(&self, holder: &Holder) -> MutexGuard<'_, HashMap<Holder, Bucket>> {
        let hash = self.hasher.hash_one(holder);
        lock(&self.shards[hash as usize % SHARDS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
