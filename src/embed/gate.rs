//! Limits the running and waiting calls of an embedder.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EmbedError;

/// A concurrency limit with a bounded queue; further calls are refused.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// The permit of a running call, returned when dropped.
#[derive(Debug)]
pub(super) struct CallPermit {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Gate {
    /// Admits `running` calls at a time and queues up to `waiting` more in order of arrival.
    pub(super) fn new(running: usize, waiting: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running)),
            places: Arc::new(Semaphore::new(running + waiting)),
        }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`EmbedError::Busy`] if the queue is full.
    pub(super) async fn enter(&self) -> Result<CallPermit, EmbedError> {
        let busy = |_| EmbedError::Busy;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        // the semaphore is never closed
        let running =
            Arc::clone(&self.running).acquire_owned().await.map_err(|_| EmbedError::Busy)?;
        Ok(CallPermit { _running: running, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_beyond_the_queue_are_refused() {
        let gate = Gate::new(1, 1);
        let first = gate.enter().await.unwrap();
        let mut second = std::pin::pin!(gate.enter());
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(gate.enter().await.unwrap_err(), EmbedError::Busy);
        drop(first);
        let second = second.await.unwrap();
        let mut third = Box::pin(gate.enter());
        assert!(futures_util::poll!(&mut third).is_pending());
        // a cancelled call frees its place in the queue
        drop(third);
        drop(second);
        gate.enter().await.unwrap();
    }
}
