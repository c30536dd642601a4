//! The caller's handle of a running step.

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{answer::StepResponse, error::StepError};
use crate::store::writer::WriteError;

/// A running step. Dropping the handle cancels the step.
#[derive(Debug)]
pub struct StepHandle {
    response: oneshot::Receiver<Result<StepResponse, StepError>>,
    cancel_on_drop: Option<DropGuard>,
}

impl StepHandle {
    /// A handle that cancels the token, and the sender of its response.
    pub(super) fn new(
        cancelled: CancellationToken,
    ) -> (oneshot::Sender<Result<StepResponse, StepError>>, Self) {
        let (sender, response) = oneshot::channel();
        (sender, Self { response, cancel_on_drop: Some(cancelled.drop_guard()) })
    }

    /// Resolves with the recorded outcome. The future is cancel-safe: it may be dropped and called
    /// again until it has resolved.
    ///
    /// # Errors
    /// See [`StepError`].
    pub async fn response(&mut self) -> Result<StepResponse, StepError> {
        let response = (&mut self.response).await;
        if let Some(guard) = self.cancel_on_drop.take() {
            drop(guard.disarm());
        }
        response.unwrap_or(Err(StepError::Write(WriteError::Closed)))
    }
}
