//! The time within which the response to a request must begin.
//!
//! The limit is that of the request's future, whatever that waits for: the database, an engine that is
//! being loaded, an identity provider. It starts anew while the body arrives, which has a limit of its
//! own, and is lifted when a step starts, which has its own limits too.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use tokio::{
    task_local,
    time::{Instant, sleep_until},
};

task_local! {
    static LIMIT: TimeLimit;
}

struct TimeLimit {
    length: Duration,
    /// `None` once it is lifted. Only the call sets it, and every poll of the call precedes a look at it: a
    /// change wakes nothing.
    at: Rc<Cell<Option<Instant>>>,
}

impl TimeLimit {
    fn extend(&self, time: Duration) {
        if self.at.get().is_some() {
            self.at.set(Some(Instant::now() + time + self.length));
        }
    }
}

/// The output of `call`; `None` if its limit is over.
pub(super) async fn within<T>(length: Duration, call: impl Future<Output = T>) -> Option<T> {
    let end = Instant::now() + length;
    let at = Rc::new(Cell::new(Some(end)));
    let call = LIMIT.scope(TimeLimit { length, at: Rc::clone(&at) }, call);
    let mut sleep = pin!(sleep_until(end));
    let is_over = poll_fn(|context| {
        let Some(end) = at.get() else { return Poll::Pending };
        if sleep.deadline() != end {
            sleep.as_mut().reset(end);
        }
        sleep.as_mut().poll(context)
    });
    tokio::select! {
        biased;
        output = call => Some(output),
        () = is_over => None,
    }
}

/// Lifts the limit of the present request: what follows has limits of its own.
pub(super) fn lift() {
    LIMIT.try_with(|limit| limit.at.set(None)).ok();
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
    async fn a_body_that_waits_does_not_wake_its_task() {
        let mut polls = 0;
        let (mut other, mut arrival) = (pin!(sleep(LENGTH / 2)), pin!(sleep(LENGTH)));
        let body = poll_fn(|context| {
            polls += 1;
            restart_after(LENGTH);
            if polls < 3 {
                // wakes the task without an arrival
                assert_eq!(other.as_mut().poll(context).is_ready(), polls == 2);
            }
            // a task that is always awake stops the paused time
            if polls == 100 { Poll::Ready(()) } else { arrival.as_mut().poll(context) }
        });
        assert_eq!(within(LENGTH, body).await, Some(()));
        assert_eq!(polls, 3);
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
