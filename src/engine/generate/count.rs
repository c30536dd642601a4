//! What is counted of a step beside its events.

use std::time::Duration;

use super::Admitted;
use crate::{engine::Engine, llm::CallReport, telemetry::metrics::Call};

impl Engine {
    /// Counts a call of the model that has ended. One that an open breaker or a full bulkhead never
    /// let out is none: it would make slow models look quick.
    pub(super) fn count_call(&self, called: &CallReport, ms: f64, first_piece_ms: Option<f64>) {
        if called.attempts == 0 {
            return;
        }
        let waited = Duration::from_secs_f64(ms.max(0.0) / 1_000.0);
        self.metrics.steps.generation.observe_in_trace(waited);
        let usage = called.result.as_ref().ok().map(|ended| ended.usage);
        let model = called.model.as_deref();
        let price = model.and_then(|model| self.parts.llm.price(model));
        self.parts.metrics.models.called(&Call {
            provider: called.provider,
            model,
            ms,
            first_piece_ms,
            usage,
            cost_micro_usd: usage.zip(price).map_or(0, |(usage, price)| price.of(usage)),
        });
    }

    /// Counts a step whose ending is in the log; `model_ms` is the wait for the model of one that was
    /// answered.
    pub(super) fn count_step(&self, step: &Admitted, model_ms: Option<f64>) {
        let latency = step.started.elapsed();
        self.metrics.steps.latency.observe_in_trace(latency);
        if let Some(model_ms) = model_ms {
            self.metrics.steps.overhead.total.observe(latency.as_secs_f64() - model_ms / 1_000.0);
        }
    }
}
