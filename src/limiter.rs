//! What may run at once, requests served or calls of a provider: a semaphore with a bounded queue
//! before it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Admits at most `concurrency`; `queue` more wait, at most `wait`; others are refused.
#[derive(Debug)]
pub struct Limiter {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    wait: Duration,
}

/// The right to run; ends when dropped.
#[derive(Debug)]
pub struct Admission(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Limiter {
    /// A limiter with nobody in it.
    pub fn new(concurrency: usize, queue: usize, wait: Duration) -> Self {
        Self {
            running: Arc::new(Semaphore::new(concurrency)),
            waiting: AtomicUsize::new(0),
            queue,
            wait,
        }
    }

    /// Admits now, after a wait, or (`None`) not at all: the queue is full or the wait was too long.
    pub async fn admit(&self) -> Option<Admission> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Some(Admission(permit));
        }
        let _place = Place::take(&self.waiting, self.queue)?;
        let permit = timeout(self.wait, Arc::clone(&self.running).acquire_owned()).await;
        permit.ok()?.ok().map(Admission)
    }
}

/// A place in the queue; given back when dropped, also when the caller goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Option<Self> {
        let next = |n: usize| (n < queue).then_some(n + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_free_place_admits_the_waiting() {
        let limiter = Limiter::new(1, 1, Duration::from_mins(1));
        let first = limiter.admit().await.unwrap();
        let mut second = Box::pin(limiter.admit());
        assert!(second.as_mut().now_or_never().is_none(), "waits");
        assert!(limiter.admit().await.is_none(), "the queue is full");
        drop(first);
        assert!(second.await.is_some());
        assert!(limiter.admit().await.is_some(), "places are given back");
    }

    #[tokio::test]
    async fn who_goes_away_gives_back_the_place() {
        let limiter = Limiter::new(1, 1, Duration::from_mins(1));
        let _first = limiter.admit().await.unwrap();
        assert!(limiter.admit().now_or_never().is_none());
        assert_eq!(limiter.waiting.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn a_wait_ends() {
        let limiter = Limiter::new(1, 1, Duration::ZERO);
        let _first = limiter.admit().await.unwrap();
        assert!(limiter.admit().await.is_none());
    }
}
