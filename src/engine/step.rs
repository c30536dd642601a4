//! A step: one governed request, from its arrival to its recorded ending.
//!
//! The order is a contract. `step.admitted` or `step.rejected` is durable before a model is called,
//! and the ending is durable before the answer is complete. No lock and no transaction is held in
//! between. [`run`] is the whole sequence; the modules here are its parts.
//!
//! From the route to the commit and back, in reading order:
//!
//! | file | part |
//! |---|---|
//! | `http/v1/generate.rs` (or `v1/chat`, `v1/messages`) | validates the body, authorizes the caller |
//! | `engine/step.rs` | starts the step as a task; [`run`] |
//! | `engine/step/request.rs` | the request and its caller |
//! | `engine/step/preflight.rs` | refuses what cannot be answered, before anything is recorded |
//! | `engine/step/admit.rs` | proposes `step.admitted`; `judge.rs` scores, `sealed.rs` seals the request |
//! | `engine/append.rs` | hands the command to the writer |
//! | `store/writer.rs`, `store/writer/task.rs`, `store/writer/pipeline.rs` | batches, decides (`domain/decide.rs`), appends, commits |
//! | `engine/step/retrieve.rs` | embeds the prompt, searches the memory, reads the contents |
//! | `engine/step/ask.rs` | calls the model |
//! | `llm.rs`, `llm/upstream.rs`, `llm/provider.rs` | fallbacks, retries, one provider |
//! | `engine/step/record.rs` | seals the answer, proposes `step.completed` or `step.failed` |
//! | `engine/step/answer.rs` | the answer, built from the events |
//!
//! If the idempotency key belongs to an earlier step, `engine/step/replay.rs` replaces the rows from
//! `retrieve.rs` to `record.rs`. The leaf modules `estimate`, `error`, `progress`, `spans`, `handle`
//! and `engine/content.rs` are called on the way and call none of the above.

mod admit;
pub(super) mod answer;
mod ask;
pub(super) mod error;
mod estimate;
pub(super) mod exchange;
mod handle;
mod judge;
mod preflight;
mod progress;
mod record;
mod replay;
pub(super) mod request;
mod retrieve;
mod sealed;
mod spans;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Engine, instance::Running};
use crate::{lifecycle::Tasks, llm::Delta, telemetry::traces};
use admit::Admission;
use answer::StepResponse;
use ask::ModelOutcome;
use error::{Failure, StepError};
use handle::AnswerLimit;
pub use handle::StepHandle;
use progress::Progress;
use request::{Caller, Step, StepRequest};

/// Time for recording the failure of a step whose limit is over.
const RECORDING: Duration = Duration::from_millis(800);

impl Engine {
    /// Starts a step as a task of its own, so that its ending is recorded even if the client
    /// disconnects: dropping the handle cancels the step, and the task records that. The answer is
    /// sent to `deltas` as the model produces it.
    pub fn start(
        self: Arc<Self>,
        tasks: &Tasks,
        caller: Caller,
        request: StepRequest,
        deltas: Option<mpsc::Sender<Delta>>,
    ) -> StepHandle {
        let span = tracing::Span::current();
        span.record("engine", self.id.as_str());
        span.record("prompt_length", request.prompt.chars().count());
        let cancelled = CancellationToken::new();
        let limit = AnswerLimit::new(Instant::now() + self.settings.timeout);
        let (response, handle) = StepHandle::new(cancelled.clone(), &limit);
        let task = async move {
            let step = Step::new(&self, &caller, &request);
            let result = limited(step, deltas, &cancelled, &limit).await;
            // the receiver may be gone: the client has disconnected, or its limit was over
            drop(response.send(result));
        };
        tasks.spawn("step", traces::in_current_trace(task));
        handle
    }
}

/// Runs a step to its recorded ending. Cancelling the token ends it as `step.failed`. The future must
/// run to completion: a step whose future is dropped stays open until its deadline.
///
/// # Errors
/// See [`StepError`].
pub async fn run(
    engine: &Engine,
    caller: &Caller,
    request: &StepRequest,
    deltas: Option<mpsc::Sender<Delta>>,
    cancelled: &CancellationToken,
) -> Result<StepResponse, StepError> {
    let step = Step::new(engine, caller, request);
    limited(step, deltas, cancelled, &AnswerLimit::new(step.first_byte_by())).await
}

/// As [`run`], and moves the limit until which the caller waits.
async fn limited(
    step: Step<'_>,
    deltas: Option<mpsc::Sender<Delta>>,
    cancelled: &CancellationToken,
    limit: &AnswerLimit,
) -> Result<StepResponse, StepError> {
    let _running = Running::new(step.engine);
    let admitted = match admit::admit(step).await? {
        Admission::Admitted(admitted) => admitted,
        Admission::Rejected(answer) => return Ok(StepResponse::new(*answer)),
        Admission::Duplicate(first) => {
            limit.until(step.deadline().total + RECORDING);
            return replay::replay(step, &first).await;
        }
    };
    // the limits of the model
    limit.until(step.deadline().total + RECORDING);
    let mut progress = Progress::new(step, deltas);
    // boxed: the state of a call is larger than everything else in a step
    let asking = Box::pin(async {
        step.require_time()?;
        let retrieval = retrieve::retrieve(step, &admitted, &mut progress).await?;
        ask::ask(step, &admitted, retrieval, &mut progress).await
    });
    let outcome = unless(cancelled, asking).await;
    progress.end(step);
    // whatever the database does, the caller waits no longer than for a model that fails at its limit
    let (now, latest) = (Instant::now(), step.deadline().total + RECORDING);
    limit.until(match &outcome {
        Ok(_) => latest.min(now + step.engine.settings.timeout),
        Err(_) => step.first_byte_by().max(latest.min(now + RECORDING)),
    });
    record::record(step, admitted, outcome, progress).await
}

/// The outcome of `asking`, or the failure of a cancelled step.
async fn unless(
    cancelled: &CancellationToken,
    asking: impl Future<Output = Result<ModelOutcome, Failure>>,
) -> Result<ModelOutcome, Failure> {
    tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(Failure::cancelled()),
        outcome = asking => outcome,
    }
}

#[cfg(test)]
mod tests;
