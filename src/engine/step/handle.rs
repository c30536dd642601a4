//! The caller's handle of a running step.

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{answer::StepResponse, error::StepError};
use crate::store::writer::WriteError;

/// A running step. Dropping the handle cancels the step.
#[derive(Debug)]
pub struct StepHandle {
    response: oneshot::Receiver<Result<StepResponse, StepError>>,
    limit: watch::Receiver<Instant>,
    cancel_on_drop: Option<DropGuard>,
}

/// The time until which the caller of a step waits. The model has limits of its own; this one holds
/// whatever the event log does.
pub(super) struct AnswerLimit(watch::Sender<Instant>);

impl AnswerLimit {
    /// A limit that begins with this time.
    pub(super) fn new(at: Instant) -> Self {
        Self(watch::Sender::new(at))
    }

    /// Moves the limit.
    pub(super) fn until(&self, at: Instant) {
        self.0.send_replace(at);
    }
}

impl StepHandle {
    /// A handle that cancels the token, and the sender of its response.
    pub(super) fn new(
        cancelled: CancellationToken,
        limit: &AnswerLimit,
    ) -> (oneshot::Sender<Result<StepResponse, StepError>>, Self) {
        let (sender, response) = oneshot::channel();
        let cancel_on_drop = Some(cancelled.drop_guard());
        (sender, Self { response, limit: limit.0.subscribe(), cancel_on_drop })
    }

    /// Resolves when the caller has waited for long enough. Cancel-safe.
    pub async fn overdue(&mut self) -> StepError {
        Self::passed(&mut self.limit).await
    }

    async fn passed(limit: &mut watch::Receiver<Instant>) -> StepError {
        loop {
            let at = *limit.borrow_and_update();
            tokio::select! {
                () = sleep_until(at) => return StepError::Write(WriteError::Overdue),
                moved = limit.changed() => if moved.is_err() {
                    // the step has ended, and its response is there
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    /// Resolves with the recorded outcome, or with an error at the limit of the request: the step goes on
    /// then, and a step without an answer is cancelled. The future is cancel-safe: it may be dropped and
    /// called again until it has resolved.
    ///
    /// # Errors
    /// See [`StepError`].
    pub async fn response(&mut self) -> Result<StepResponse, StepError> {
        let response = tokio::select! {
            biased;
            response = &mut self.response => response,
            error = Self::passed(&mut self.limit) => return Err(error),
        };
        if let Some(guard) = self.cancel_on_drop.take() {
            drop(guard.disarm());
        }
        response.unwrap_or(Err(StepError::Write(WriteError::Closed)))
    }
}
