//! A limit of the searches that hold the contents of memories.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Maximum number of searches of an engine that hold contents at once; further ones wait. A memory may be
/// as large as a request, and a search reads several.
const READERS_MAX: usize = 8;

/// The searches that hold contents.
pub(in crate::engine) struct Readers(Semaphore);

impl Default for Readers {
    fn default() -> Self {
        Self(Semaphore::new(READERS_MAX))
    }
}

impl Readers {
    /// Waits for a place, which is free again when the value is dropped. The limit is never closed.
    pub(in crate::engine) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        self.0.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_search_beyond_the_limit_waits_for_another_to_end() {
        let readers = Readers::default();
        let mut places = Vec::new();
        for _ in 0..READERS_MAX {
            places.push(readers.enter().await.unwrap());
        }
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, readers.enter()).await.is_err());
        places.pop();
        assert!(tokio::time::timeout(second, readers.enter()).await.is_ok());
    }
}
