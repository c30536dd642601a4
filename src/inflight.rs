//! A bound on the memory of all requests that run: their bodies, the copies of these, and answers while
//! they arrive and until they are sent.
//!
//! Each request has a [`Lease`], which grows with what the request holds and gives all of it back when
//! its last owner drops it: the response body, or the task of the step, which may outlive it. Bodies may
//! take three quarters of the memory. The rest is for the answers to these requests, because a model
//! that was asked is paid.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bytes that all requests may hold together.
#[derive(Debug)]
pub struct Inflight {
    used: AtomicUsize,
    max: usize,
}

impl Inflight {
    /// A bound of `max` bytes.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// The bytes that are held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// An empty lease.
    pub fn lease(self: &Arc<Self>) -> Arc<Lease> {
        Arc::new(Lease { pool: Arc::clone(self), held: AtomicUsize::new(0) })
    }
}

/// The bytes of one request.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Inflight>,
    held: AtomicUsize,
}

impl Lease {
    /// Adds bytes of a request's body and its copies, if the share of bodies allows it.
    #[must_use]
    pub fn try_add_body(&self, bytes: usize) -> bool {
        let max = self.pool.max;
        self.try_add_below(bytes, max - max / 4)
    }

    /// Adds bytes of an answer and its copies, if the bound allows it.
    #[must_use]
    pub fn try_add(&self, bytes: usize) -> bool {
        self.try_add_below(bytes, self.pool.max)
    }

    fn try_add_below(&self, bytes: usize, max: usize) -> bool {
        let next = |used: usize| used.checked_add(bytes).filter(|next| *next <= max);
        let added = self.pool.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok();
        if added {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        added
    }

    /// Adds bytes that exist already, such as a response that is ready. Beyond the bound they delay
    /// further requests.
    pub fn add(&self, bytes: usize) {
        self.pool.used.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(*self.held.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_bounded_and_given_back_as_a_whole() {
        let pool = Inflight::new(10);
        let (first, second) = (pool.lease(), pool.lease());
        assert!(first.try_add(6) && !second.try_add(5) && second.try_add(4));
        second.add(7);
        assert_eq!(pool.used(), 17, "an answer is counted beyond the bound");
        drop(second);
        assert!(!first.try_add(5) && first.try_add(4));
        assert!(!first.try_add(usize::MAX), "no overflow");
        let owner = Arc::clone(&first);
        drop(first);
        assert_eq!(pool.used(), 10);
        drop(owner);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn bodies_leave_a_quarter_of_the_memory_to_answers() {
        let pool = Inflight::new(8);
        let lease = pool.lease();
        assert!(lease.try_add_body(6) && !lease.try_add_body(1));
        assert!(lease.try_add(2) && !lease.try_add(1));
    }
}
