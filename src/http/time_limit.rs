//! The time within which the response to a request must begin.
//!
//! The limit is that of the request's future, whatever that waits for: the database, an engine that is
//! being loaded, an identity provider. It starts anew while the body arrives, which has a limit of its
//! own, and is lifted when a step starts, which has its own limits too.

use std::{future::Future, time::Duration};

use tokio::{
    sync::watch,
    task_local,
    time::{Instant, sleep_until},
};

task_local! {
    static LIMIT: TimeLimit;
}

struct TimeLimit {
    length: Duration,
    /// `None` once it is lifted.
    at: watch::Sender<Option<Instant>>,
}

impl TimeLimit {
    fn extend(&self, time: Duration) {
        let at = Instant::now() + time + self.length;
        self.at.send_if_modified(|limit| match limit {
            Some(limit) => {
                *limit = at;
                true
            }
            None => false,
        });
    }
}

/// The output of `call`; `None` if its limit is over.
pub(super) async fn within<T>(length: Duration, call: impl Future<Output = T>) -> Option<T> {
    let (sender, at) = watch::channel(Some(Instant::now() + length));
    tokio::select! {
        biased;
        output = LIMIT.scope(TimeLimit { length, at: sender }, call) => Some(output),
        () = passed(at) => None,
    }
}

async fn passed(mut limit: watch::Receiver<Option<Instant>>) {
    loop {
        let at = *limit.borrow_and_update();
        let is_over = async {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = is_over => return,
            moved = limit.changed() => if moved.is_err() {
                // the call has ended
                std::future::pending::<()>().await;
            },
        }
    }
}

/// Lifts the limit of the present request: what follows has limits of its own.
pub(super) fn lift() {
    LIMIT.try_with(|limit| limit.at.send_replace(None)).ok();
}

/// Starts the limit of the present request anew, after this time.
pub(super) fn restart_after(time: Duration) {
    LIMIT.try_with(|limit| limit.extend(time)).ok();
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_ever_ends_at_its_limit() {
        let began = Instant::now();
        assert_eq!(within(LENGTH, pending::<()>()).await, None);
        assert_eq!(began.elapsed(), LENGTH);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_starts_after_the_body() {
        let began = Instant::now();
        let late = async {
            for _ in 0..3 {
                restart_after(LENGTH);
                sleep(LENGTH + LENGTH / 2).await;
            }
            restart_after(Duration::ZERO);
            pending::<()>().await;
        };
        assert_eq!(within(LENGTH, late).await, None);
        assert_eq!(began.elapsed(), 3 * (LENGTH + LENGTH / 2) + LENGTH);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lifted_limit_does_not_come_back() {
        let step = async {
            lift();
            restart_after(Duration::ZERO);
            sleep(10 * LENGTH).await;
            "answered"
        };
        assert_eq!(within(LENGTH, step).await, Some("answered"));
    }
}
