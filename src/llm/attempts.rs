//! How attempts at a provider went, counted.

use prometheus_client::metrics::counter::Counter;

use super::LlmError;

/// Every outcome: an answer, or the code of an [`LlmError`].
const OUTCOMES: [&str; 17] = [
    "success",
    "unreachable",
    "timeout",
    "overloaded",
    "upstream",
    "unauthorized",
    "refused",
    "malformed",
    "broken_off",
    "untranslatable",
    "model_not_allowed",
    "breaker_open",
    "bulkhead_full",
    "client_gone",
    "too_long",
    "not_recorded",
    OTHERWISE,
];

/// The outcome of an error whose code is none of the others: a program's own model may say anything.
const OTHERWISE: &str = "unavailable";

/// The attempts at one provider.
#[derive(Debug, Default)]
pub(super) struct Attempts([Counter; OUTCOMES.len()]);

impl Attempts {
    /// Counts one.
    pub(super) fn count<T>(&self, result: &Result<T, LlmError>) {
        let outcome = result.as_ref().map_or_else(LlmError::code, |_| "success");
        let place = OUTCOMES.iter().position(|known| *known == outcome);
        if let Some(counter) = self.0.get(place.unwrap_or(OUTCOMES.len() - 1)) {
            counter.inc();
        }
    }

    /// The counters with what they count.
    pub(super) fn by_outcome(&self) -> impl Iterator<Item = (&'static str, Counter)> {
        OUTCOMES.into_iter().zip(self.0.iter().cloned())
    }
}
