//! How many calls of an embedder run at once, and how many wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::EmbedError;

/// Lets a number of calls in, keeps a number waiting and turns the others away.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// A call that was let in, as long as it is held.
#[derive(Debug)]
pub(super) struct Pass {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Gate {
    /// `running` calls at once, `waiting` more in the order they came.
    pub(super) fn new(running: usize, waiting: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running)),
            places: Arc::new(Semaphore::new(running + waiting)),
        }
    }

    /// Waits for the call's turn.
    ///
    /// # Errors
    /// [`EmbedError::Busy`] when too many wait already.
    pub(super) async fn enter(&self) -> Result<Pass, EmbedError> {
        let busy = |_| EmbedError::Busy;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        // never closed
        let running =
            Arc::clone(&self.running).acquire_owned().await.map_err(|_| EmbedError::Busy)?;
        Ok(Pass { _running: running, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_those_that_run_and_wait_it_turns_away() {
        let gate = Gate::new(1, 1);
        let first = gate.enter().await.unwrap();
        let mut second = std::pin::pin!(gate.enter());
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(gate.enter().await.unwrap_err(), EmbedError::Busy);
        drop(first);
        let second = second.await.unwrap();
        let mut third = Box::pin(gate.enter());
        assert!(futures_util::poll!(&mut third).is_pending());
        // a place given up is free
        drop(third);
        drop(second);
        gate.enter().await.unwrap();
    }
}
