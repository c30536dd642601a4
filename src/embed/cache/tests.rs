use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::*;

fn vector(first: f32) -> UnitVector {
    UnitVector::normalise(&[first, 1.0], 2).unwrap()
}

/// An embedder that waits for a permit and counts its calls.
#[derive(Clone)]
struct Slow {
    calls: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
}

impl Slow {
    fn new() -> Self {
        Self { calls: Arc::default(), go: Arc::new(Semaphore::new(0)) }
    }

    async fn embed(self, outcome: EmbedResult) -> EmbedResult {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.go.acquire().await.unwrap().forget();
        outcome
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

fn cache() -> Cache {
    Cache::new(1 << 20, 2).unwrap()
}

fn running(cache: &Cache) -> usize {
    cache.inner().running.len()
}

/// Requests a vector; the future is not polled yet.
fn ask<'a>(
    cache: &'a Cache,
    slow: &Slow,
    text: &'a str,
    outcome: EmbedResult,
) -> impl Future<Output = EmbedResult> + use<'a> {
    let slow = slow.clone();
    cache.get(text, move |_| slow.embed(outcome))
}

#[tokio::test]
async fn equal_texts_at_the_same_time_make_one_call() {
    let (cache, slow) = (cache(), Slow::new());
    let asked = join_all((0..100).map(|_| ask(&cache, &slow, "a", Ok(vector(2.0)))));
    let other = ask(&cache, &slow, "b", Ok(vector(3.0)));
    let mut both = Box::pin(async { tokio::join!(asked, other) });
    assert!(futures_util::poll!(&mut both).is_pending());
    assert_eq!((slow.calls(), running(&cache)), (2, 2));
    slow.go.add_permits(2);
    let (asked, other) = both.await;
    assert!(asked.into_iter().all(|outcome| outcome.unwrap() == vector(2.0)));
    assert_eq!(other.unwrap(), vector(3.0));
    assert_eq!((slow.calls(), running(&cache)), (2, 0));
    ask(&cache, &slow, "a", Ok(vector(9.0))).await.unwrap();
    assert_eq!(slow.calls(), 2);
}

#[tokio::test]
async fn all_waiting_callers_get_a_failure_and_the_next_call_retries() {
    let (cache, slow) = (cache(), Slow::new());
    let asked = (0..10).map(|_| ask(&cache, &slow, "a", Err(EmbedError::Unreachable)));
    let mut asked = join_all(asked);
    assert!(futures_util::poll!(&mut asked).is_pending());
    slow.go.add_permits(2);
    let outcomes = asked.await;
    assert!(outcomes.into_iter().all(|outcome| outcome == Err(EmbedError::Unreachable)));
    assert_eq!((slow.calls(), running(&cache)), (1, 0));
    assert_eq!(ask(&cache, &slow, "a", Ok(vector(2.0))).await.unwrap(), vector(2.0));
    assert_eq!(slow.calls(), 2);
}

#[tokio::test]
async fn a_cancelled_caller_does_not_affect_the_others() {
    let (cache, slow) = (cache(), Slow::new());
    let mut first = Box::pin(ask(&cache, &slow, "a", Ok(vector(2.0))));
    let mut second = Box::pin(ask(&cache, &slow, "a", Ok(vector(3.0))));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    slow.go.add_permits(1);
    assert_eq!(second.await.unwrap(), vector(2.0));
    assert_eq!(slow.calls(), 1);
}

#[tokio::test]
async fn a_computation_without_waiting_callers_is_dropped() {
    let (cache, slow) = (cache(), Slow::new());
    let mut only = Box::pin(ask(&cache, &slow, "a", Ok(vector(2.0))));
    assert!(futures_util::poll!(&mut only).is_pending());
    drop(only);
    assert_eq!(running(&cache), 0);
    slow.go.add_permits(1);
    assert_eq!(ask(&cache, &slow, "a", Ok(vector(3.0))).await.unwrap(), vector(3.0));
}

#[tokio::test]
async fn the_least_recently_used_vector_is_evicted() {
    // room for two
    let cache = Cache::new(2 * (2 * 4 + ENTRY_OVERHEAD), 2).unwrap();
    let slow = Slow::new();
    slow.go.add_permits(100);
    for text in ["a", "b", "a", "c", "a"] {
        ask(&cache, &slow, text, Ok(vector(2.0))).await.unwrap();
    }
    assert_eq!((slow.calls(), cache.inner().vectors.len()), (3, 2));
    ask(&cache, &slow, "b", Ok(vector(2.0))).await.unwrap();
    assert_eq!(slow.calls(), 4);
    assert!(Cache::new(ENTRY_OVERHEAD, 2).is_none());
}

/// The fastest of many rounds, which does not depend on the load of the machine.
async fn fastest(mut round: impl AsyncFnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let started = Instant::now();
        for _ in 0..20 {
            round().await;
        }
        best = best.min(started.elapsed());
    }
    best
}

#[tokio::test]
async fn a_hit_is_faster_than_the_fastest_embedder() {
    let (cache, text) = (cache(), "a word and a number 7 ".repeat(25));
    cache.get(&text, |_| async { Ok(vector(2.0)) }).await.unwrap();
    let hit = fastest(async || {
        cache.get(&text, |_| async { Ok(vector(2.0)) }).await.unwrap();
    });
    let embedding = fastest(async || drop(crate::embed::hashing::vector(&text, 384).unwrap()));
    let (hit, embedding) = (hit.await, embedding.await);
    assert!(hit < embedding, "a hit takes {hit:?}, embedding {embedding:?}");
}
