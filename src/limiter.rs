//! A concurrency limit with a bounded queue, for requests served and for calls of a provider.

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

/// Admits at most `concurrency` callers at once; `queue` more wait for at most `wait`; all others
/// are rejected.
#[derive(Debug)]
pub struct Limiter {
    running: Arc<Semaphore>,
    concurrency: usize,
    waiting: AtomicUsize,
    queue: usize,
    wait: Duration,
}

/// A permit to run; releases its place when dropped.
#[derive(Debug)]
pub struct Admission(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Limiter {
    /// A limiter with all places free.
    pub fn new(concurrency: usize, queue: usize, wait: Duration) -> Self {
        Self {
            running: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            waiting: AtomicUsize::new(0),
            queue,
            wait,
        }
    }

    /// The number of callers in the queue.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Waits until all callers have returned their permits, those in the queue included.
    pub async fn until_idle(&self) {
        let all = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        // the semaphore is never closed
        drop(self.running.acquire_many(all).await);
    }

    /// Waits for a permit; `None` if the queue is full or the wait timed out.
    pub async fn admit(&self) -> Option<Admission> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Some(Admission(permit));
        }
        let _slot = QueueSlot::take(&self.waiting, self.queue)?;
        let permit = timeout(self.wait, Arc::clone(&self.running).acquire_owned()).await;
        permit.ok()?.ok().map(Admission)
    }
}

/// A slot in the queue; released when dropped, also if the caller cancels the wait.
struct QueueSlot<'a>(&'a AtomicUsize);

impl<'a> QueueSlot<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Option<Self> {
        let next = |n: usize| (n < queue).then_some(n + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_rejects_and_a_released_permit_admits_the_next_in_the_queue() {
        let limiter = Limiter::new(1, 1, Duration::from_mins(1));
        let first = limiter.admit().await.unwrap();
        let mut second = Box::pin(limiter.admit());
        assert!(second.as_mut().now_or_never().is_none(), "waits");
        assert!(limiter.admit().await.is_none(), "the queue is full");
        drop(first);
        assert!(second.await.is_some());
        assert!(limiter.admit().await.is_some(), "slots are released");
    }

    #[tokio::test]
    async fn a_cancelled_wait_releases_its_slot() {
        let limiter = Limiter::new(1, 1, Duration::from_mins(1));
        let _first = limiter.admit().await.unwrap();
        assert!(limiter.admit().now_or_never().is_none());
        assert_eq!(limiter.waiting(), 0);
    }

    #[tokio::test]
    async fn a_limiter_is_idle_when_all_permits_are_back() {
        let limiter = Limiter::new(2, 1, Duration::from_mins(1));
        assert!(limiter.until_idle().now_or_never().is_some());
        let first = limiter.admit().await.unwrap();
        let mut idle = Box::pin(limiter.until_idle());
        assert!(idle.as_mut().now_or_never().is_none());
        drop(first);
        idle.await;
    }

    #[tokio::test]
    async fn a_wait_times_out() {
        let limiter = Limiter::new(1, 1, Duration::ZERO);
        let _first = limiter.admit().await.unwrap();
        assert!(limiter.admit().await.is_none());
    }
}
