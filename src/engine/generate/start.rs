//! A step as a task of its own: whoever asked may go away, the step still gets its ending.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Caller, StepError, StepRequest, StepResponse};
use crate::{
    engine::Engine, lifecycle::Tasks, llm::Delta, store::writer::WriteError, telemetry::traces,
};

/// A step on its way. Dropping it cancels the step.
#[derive(Debug)]
pub struct StepHandle {
    answered: oneshot::Receiver<Result<StepResponse, StepError>>,
    gone: Option<DropGuard>,
}

impl StepHandle {
    /// Resolves with the step's recorded outcome; may be polled again until it has.
    pub async fn response(&mut self) -> Result<StepResponse, StepError> {
        let told = (&mut self.answered).await;
        if let Some(gone) = self.gone.take() {
            drop(gone.disarm());
        }
        told.unwrap_or(Err(StepError::Write(WriteError::Closed)))
    }
}

impl Engine {
    /// Runs one step as a task of its own, so that a caller who goes away cannot leave a step without an
    /// ending: dropping what this returns cancels the step, and the task still records that. With
    /// `pieces` the caller is sent the answer as it is made.
    pub fn start(
        self: Arc<Self>,
        tasks: &Tasks,
        caller: Caller,
        request: StepRequest,
        pieces: Option<mpsc::Sender<Delta>>,
    ) -> StepHandle {
        let span = tracing::Span::current();
        span.record("engine", self.id.as_str());
        span.record("prompt_length", request.prompt.chars().count());
        let cancelled = CancellationToken::new();
        let gone = cancelled.clone().drop_guard();
        let (answer, answered) = oneshot::channel();
        let step = async move {
            let told = self.generate(&caller, &request, pieces, &cancelled).await;
            // nobody may be left to tell
            drop(answer.send(told));
        };
        tasks.spawn("step", traces::carried(step));
        StepHandle { answered, gone: Some(gone) }
    }
}
