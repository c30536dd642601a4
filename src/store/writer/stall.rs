//! The time for which a writer has had work without any progress.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The beginning of the present work; `None` while there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Stall(Arc<Mutex<Option<Instant>>>);

impl Stall {
    /// Notes whether there is work. Work that was there before has begun earlier.
    pub(super) fn has_work(&self, has_work: bool) {
        let mut since = self.since();
        *since = if has_work { since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// Notes that a batch ended, in whatever way.
    pub(super) fn progressed(&self) {
        *self.since() = None;
    }

    /// The time since the present work began, or since the last progress.
    pub(super) fn time(&self) -> Duration {
        self.since().map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_counted_from_the_last_progress() {
        let (stall, second) = (Stall::default(), Duration::from_secs(1));
        tokio::time::advance(second).await;
        stall.has_work(true);
        tokio::time::advance(second).await;
        stall.has_work(true);
        tokio::time::advance(second).await;
        assert_eq!(stall.time(), 2 * second);
        stall.progressed();
        stall.has_work(true);
        assert_eq!(stall.time(), Duration::ZERO);
        tokio::time::advance(second).await;
        stall.has_work(false);
        assert_eq!(stall.time(), Duration::ZERO, "an idle writer does not stall");
    }
}
