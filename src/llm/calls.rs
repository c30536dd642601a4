//! The calls made for one step, as its ending records them.
//!
//! The log of calls belongs to the caller, like the [`Sink`](super::Sink): if the step is cancelled, it
//! still shows the provider that the prompt was sent to.

use tokio::time::Instant;

use super::{LlmError, Provider, Request};
use crate::domain::event::{ModelCall, Sampling};

/// The code of a call that answered.
const OK: &str = "ok";

/// The code of a call whose step was cancelled.
const CANCELLED: &str = "client_gone";

/// The calls made for one step. An attempt that was not sent, because of an open breaker or a full
/// bulkhead, is also an entry.
#[derive(Debug, Default)]
pub struct CallLog {
    calls: Vec<ModelCall>,
    /// The attempt that has not ended; its entry is the last one.
    running: Option<Running>,
    /// The number of calls that were sent to a provider.
    sent: u32,
    /// The index of the last of them.
    last_sent: Option<usize>,
}

#[derive(Debug)]
struct Running {
    started_at: Instant,
    sampling: Option<Sampling>,
    is_sent: bool,
}

impl CallLog {
    /// Adds an attempt.
    pub(super) fn begin(&mut self, provider: &Provider, request: &Request) {
        self.running = Some(Running { started_at: Instant::now(), sampling: None, is_sent: false });
        self.calls.push(ModelCall {
            provider: provider.name().to_owned(),
            model: request.model.clone().unwrap_or_default(),
            code: CANCELLED.to_owned(),
            ms: 0.0,
            sampling: None,
            status: None,
            provider_code: None,
            cause: None,
        });
    }

    /// Notes that the attempt is being sent.
    pub(super) fn send(&mut self, provider: &Provider, request: &Request) {
        if let Some(running) = &mut self.running {
            running.is_sent = true;
            running.sampling = provider.sampling(request);
        }
    }

    /// Ends the attempt with its result.
    pub(super) fn end<T>(&mut self, result: &Result<T, LlmError>) {
        // an untranslatable request is not sent
        if let (Err(LlmError::Untranslatable { .. }), Some(running)) = (result, &mut self.running) {
            running.is_sent = false;
        }
        if let (Err(error), Some(call)) = (result, self.calls.last_mut()) {
            call.status = error.status();
            call.provider_code = error.provider_error().map(|said| said.code.to_owned());
            call.cause = error.unreachable_cause().map(|cause| cause.name().to_owned());
        }
        self.finish(result.as_ref().map_or_else(LlmError::code, |_| OK));
    }

    /// Ends an attempt whose step was cancelled.
    pub fn cancel(&mut self) {
        self.finish(CANCELLED);
    }

    fn finish(&mut self, code: &str) {
        let (Some(running), Some(call)) = (self.running.take(), self.calls.last_mut()) else {
            return;
        };
        code.clone_into(&mut call.code);
        call.ms = (running.started_at.elapsed().as_micros() as f64) / 1_000.0;
        if running.is_sent {
            call.sampling = running.sampling;
            self.sent += 1;
            self.last_sent = Some(self.calls.len() - 1);
        }
    }

    /// The number of calls that were sent to a provider.
    pub const fn attempts(&self) -> u32 {
        self.sent
    }

    /// The last call that was sent to a provider.
    pub fn last_sent(&self) -> Option<&ModelCall> {
        self.calls.get(self.last_sent?)
    }

    /// The calls in their order.
    pub fn into_calls(self) -> Vec<ModelCall> {
        self.calls
    }
}
