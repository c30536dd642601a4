//! The end of the time that running steps have when the server stops.

use super::{Code, Problem, time_limit};
use crate::{
    engine::{StepHandle, StepResponse},
    lifecycle::Stop,
};

/// The outcome of a step that is not streamed, or the error of a server that stops.
pub(super) async fn outcome(stop: &Stop, mut running: StepHandle) -> Result<StepResponse, Problem> {
    time_limit::lift();
    tokio::select! {
        biased;
        response = running.response() => Ok(response?),
        () = stop.drained() => Err(draining()),
    }
}

/// The error of a step that has not ended in time.
pub(super) fn draining() -> Problem {
    let detail = "the server is stopping and the answer was not complete in time; send the request \
                  again";
    Problem::new(Code::Draining, detail)
}
