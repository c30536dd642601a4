//! Rate limits: one token bucket per caller (GCRA, from the crate `governor`).
//!
//! The key of a bucket is the authenticated actor or, without one, the client address; IPv6 addresses
//! count by their /64 network, which is what one customer gets. A bucket holds a burst of requests and
//! refills evenly. The number of buckets is bounded: keys above the bound share one bucket, so a flood
//! of identities slows down unknown callers but cannot exhaust memory. A background task removes full
//! buckets, which are equal to new ones. Counters are local to the process: with several replicas
//! behind a load balancer, each replica grants the rate. Deliberately not here: which bucket a request
//! uses (`http::middleware::rate_limit`), and budgets of tokens and costs
//! ([`crate::domain::budget`]).

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

/// The map is split into shards with a lock each; a sweep holds one lock at a time.
const SHARDS: usize = 16;

/// Pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The key of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BucketKey {
    /// An authenticated caller.
    Actor(String),
    /// A client address; use [`BucketKey::address`] to construct it.
    Address(IpAddr),
}

impl BucketKey {
    /// The key for an address: an IPv4 address or an IPv6 /64 network.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per window, on average.
    pub requests: NonZeroU32,
    /// The window.
    pub window: Duration,
    /// Size of the bucket: requests that may arrive at once.
    pub burst: NonZeroU32,
}

/// Upper bound of requests per window and of a burst.
const REQUESTS_MAX: u32 = 1_000_000;
/// Longest window in seconds.
const WINDOW_MAX: u64 = 86_400;
/// Default burst: requests per window divided by this.
const BURST_PART: u32 = 5;

impl Rate {
    /// `None` if a number is out of bounds: requests and burst 1 to 1,000,000, seconds 1 to 86,400.
    pub fn new(requests: u32, seconds: u64, burst: Option<u32>) -> Option<Self> {
        let bounded = |n: u32| NonZeroU32::new(n).filter(|n| n.get() <= REQUESTS_MAX);
        let seconds = Some(seconds).filter(|seconds| (1..=WINDOW_MAX).contains(seconds))?;
        Some(Self {
            requests: bounded(requests)?,
            window: Duration::from_secs(seconds),
            burst: bounded(burst.unwrap_or_else(|| (requests / BURST_PART).max(1)))?,
        })
    }

    /// Time until one token is refilled; never zero.
    pub fn interval(&self) -> Duration {
        (self.window / self.requests.get()).max(Duration::from_nanos(1))
    }

    fn quota(&self) -> Option<Quota> {
        Some(Quota::with_period(self.interval())?.allow_burst(self.burst))
    }
}

/// The state of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The rate limit of the bucket.
    pub rate: Rate,
    /// Requests that would be granted now, at most the burst.
    pub remaining: u32,
    /// Time until the bucket is full.
    pub reset: Duration,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit exceeded; retry in {} seconds", retry_after.as_secs_f64().ceil())]
pub struct RateExceeded {
    /// The state of the bucket.
    pub allowance: Allowance,
    /// Time until the next request is granted.
    pub retry_after: Duration,
}

/// Time since the limiter was created, on tokio's clock, which tests can pause.
#[derive(Clone, Copy, Debug)]
struct Elapsed(Instant);

impl Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Gcra = RateLimiter<NotKeyed, InMemoryState, Elapsed, StateInformationMiddleware>;

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    gcra: Option<Gcra>,
    /// Time at which the bucket is full.
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

    fn allowance(&self, now: Duration) -> Allowance {
        let reset = self.full_at.saturating_sub(now);
        let missing = reset.as_nanos().div_ceil(self.rate.interval().as_nanos());
        let remaining = self.rate.burst.get().saturating_sub(missing as u32);
        Allowance { rate: self.rate, remaining, reset }
    }

    fn take(&mut self, clock: Elapsed) -> Result<Allowance, RateExceeded> {
        let now = clock.now();
        let Some(gcra) = &self.gcra else { return Ok(self.allowance(now)) };
        match gcra.check() {
            Ok(snapshot) => {
                let missing = self.rate.burst.get() - snapshot.remaining_burst_capacity();
                // the snapshot counts whole tokens, so this is never too early
                self.full_at = now + self.rate.interval() * missing;
                Ok(self.allowance(now))
            }
            Err(until) => {
                let allowance = Allowance { remaining: 0, ..self.allowance(now) };
                Err(RateExceeded { allowance, retry_after: until.wait_time_from(now) })
            }
        }
    }
}

/// The buckets of all callers.
#[derive(Debug)]
pub struct Rates {
    default: Rate,
    roles: Vec<(String, Rate)>,
    shards: [Mutex<HashMap<BucketKey, Bucket>>; SHARDS],
    shard_max: usize,
    /// For all keys above `shard_max`.
    shared: Mutex<Bucket>,
    hasher: RandomState,
    clock: Elapsed,
}

impl Rates {
    /// Creates a limiter without buckets. `roles` override the default rate; at most `buckets_max`
    /// keys get a bucket of their own.
    pub fn new(default: Rate, roles: Vec<(String, Rate)>, buckets_max: usize) -> Self {
        let clock = Elapsed(Instant::now());
        Self {
            default,
            roles,
            shards: std::array::from_fn(|_| Mutex::default()),
            shard_max: (buckets_max / SHARDS).max(1),
            shared: Mutex::new(Bucket::new(default, clock)),
            hasher: RandomState::new(),
            clock,
        }
    }

    /// The highest rate of these roles, or the default rate.
    pub fn for_roles<'a>(&self, roles: impl IntoIterator<Item = &'a str>) -> Rate {
        let rate = |role: &str| self.roles.iter().find(|(name, _)| name == role);
        let rates = roles.into_iter().filter_map(rate).map(|(_, rate)| *rate);
        rates.min_by_key(Rate::interval).unwrap_or(self.default)
    }

    /// Takes one token. A bucket whose rate has changed starts full.
    pub fn take(&self, key: &BucketKey, rate: Rate) -> Result<Allowance, RateExceeded> {
        let mut shard = self.shard(key);
        if let Some(bucket) = shard.get_mut(key) {
            if bucket.rate != rate {
                *bucket = Bucket::new(rate, self.clock);
            }
            return bucket.take(self.clock);
        }
        if shard.len() < self.shard_max {
            let bucket = Bucket::new(rate, self.clock);
            return shard.entry(key.clone()).or_insert(bucket).take(self.clock);
        }
        drop(shard);
        lock(&self.shared).take(self.clock)
    }

    /// The state of a bucket; takes no token.
    pub fn allowance(&self, key: &BucketKey, rate: Rate) -> Allowance {
        let now = self.clock.now();
        let shard = self.shard(key);
        match shard.get(key) {
            Some(bucket) if bucket.rate == rate => bucket.allowance(now),
            None if shard.len() >= self.shard_max => lock(&self.shared).allowance(now),
            Some(_) | None => {
                Allowance { rate, remaining: rate.burst.get(), reset: Duration::ZERO }
            }
        }
    }

    /// Number of buckets, without the shared one.
    pub fn buckets(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Removes full buckets: a new bucket would be equal.
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

    /// Calls [`Self::sweep`] every ten seconds until the server stops.
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

    fn shard(&self, key: &BucketKey) -> MutexGuard<'_, HashMap<BucketKey, Bucket>> {
        let hash = self.hasher.hash_one(key);
        lock(&self.shards[hash as usize % SHARDS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
