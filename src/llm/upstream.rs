//! One provider with its circuit breakers, its bulkhead and its retries.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{sleep, timeout_at};

use super::{
    CallLog, Deadline, LlmError, Provider, ProviderCompletion, Request, Sink, breakers::Breakers,
    metrics::Attempts,
};
use crate::{
    breaker::{self, Permit},
    limiter::Limiter,
};

/// Maximum wait for the bulkhead. The deadline of every call is earlier.
const SLOT_WAIT: Duration = Duration::from_hours(1);

/// The retries of failed attempts.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Maximum number of attempts, the first included.
    pub attempts: u32,
    /// Maximum backoff before the second attempt. It doubles with each further attempt.
    pub base: Duration,
    /// Upper limit of the backoff, except for a `Retry-After` of the provider.
    pub max: Duration,
}

/// The limits of concurrent calls to one provider.
#[derive(Clone, Copy, Debug)]
pub struct Bulkhead {
    /// Maximum number of concurrent calls.
    pub concurrency: usize,
    /// Maximum number of waiting calls. Further calls are refused.
    pub queue: usize,
}

/// The protection of a provider and of its callers.
#[derive(Clone, Copy, Debug)]
pub struct Resilience {
    /// The retries of failed attempts.
    pub retry: Retry,
    /// The circuit breaker of each model.
    pub breaker: breaker::Settings,
    /// The limits of concurrent calls.
    pub bulkhead: Bulkhead,
}

impl Resilience {
    /// A single attempt without protection, for models that run in this process.
    pub const NONE: Self = Self {
        retry: Retry { attempts: 1, base: Duration::ZERO, max: Duration::ZERO },
        breaker: breaker::Settings { failures: 0, open: Duration::ZERO, probes: 1 },
        bulkhead: Bulkhead { concurrency: tokio::sync::Semaphore::MAX_PERMITS, queue: 0 },
    };
}

/// A protected provider.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) provider: Provider,
    pub(super) breakers: Breakers,
    bulkhead: Limiter,
    retry: Retry,
    pub(super) attempts: Attempts,
}

impl Upstream {
    /// A provider with the models that the configuration names.
    pub(super) fn new(
        provider: Provider,
        models: &BTreeSet<String>,
        resilience: Resilience,
    ) -> Self {
        let Resilience { retry, breaker, bulkhead } = resilience;
        Self {
            breakers: Breakers::new(provider.name(), models, breaker),
            bulkhead: Limiter::new(bulkhead.concurrency, bulkhead.queue, SLOT_WAIT),
            provider,
            retry,
            attempts: Attempts::default(),
        }
    }

    /// Calls the provider, with retries, until the deadline. Adds each attempt to `calls`. If there is
    /// a fallback, it does not wait for a `Retry-After` above the maximum backoff.
    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
        deadline: Deadline,
        has_fallback: bool,
        calls: &mut CallLog,
    ) -> Result<ProviderCompletion, LlmError> {
        let mut tries = 0;
        loop {
            calls.begin(&self.provider, request);
            let result = self.attempt(request, sink, deadline, calls).await;
            calls.end(&result);
            self.attempts.count(&result);
            tries += 1;
            let Err(error) = &result else { return result };
            if !error.is_retryable() || sink.has_started() || tries >= self.retry.attempts {
                return result;
            }
            let wait = self.retry.wait(tries, error);
            if !deadline.has_time_after(wait) || (has_fallback && wait > self.retry.max) {
                return result;
            }
            sleep(wait).await;
        }
    }

    /// Makes one attempt.
    async fn attempt(
        &self,
        request: &Request,
        sink: &mut Sink,
        deadline: Deadline,
        calls: &mut CallLog,
    ) -> Result<ProviderCompletion, LlmError> {
        let slot = timeout_at(deadline.attempts(), self.bulkhead.admit()).await;
        let Ok(Some(_slot)) = slot else { return Err(LlmError::BulkheadFull) };
        if !deadline.has_time_after(Duration::ZERO) {
            return Err(LlmError::NoTimeLeft);
        }
        let permit = self.breakers.of(request.model.as_deref()).admit();
        let permit = permit.map_err(|retry_after| LlmError::BreakerOpen { retry_after })?;
        calls.send(&self.provider, request);
        let activity = sink.activity();
        let result = deadline.limit(&activity, self.provider.call(request, sink)).await;
        report(permit, &result);
        result
    }
}

/// Reports the result to the breaker.
fn report<T>(permit: Permit, result: &Result<T, LlmError>) {
    match result {
        Err(error) if error.is_fault() => permit.failed(),
        // the provider is available even if it refuses the request
        Ok(_) | Err(LlmError::Refused { .. } | LlmError::TooLong) => permit.succeeded(),
        Err(_) => drop(permit),
    }
}

impl Retry {
    /// The backoff after `tries` attempts: exponential with full jitter, so that concurrent failures do
    /// not lead to concurrent retries, but at least the provider's `Retry-After`.
    fn wait(&self, tries: u32, error: &LlmError) -> Duration {
        let doubled = 2_u32.saturating_pow(tries - 1);
        let bound = self.base.saturating_mul(doubled).min(self.max);
        let jittered = bound.mul_f64(f64::from(crate::ids::random_bits()) / f64::from(u32::MAX));
        if let LlmError::Overloaded { retry_after: Some(least), .. } = error {
            return jittered.max(*least);
        }
        jittered
    }
}

#[cfg(test)]
mod tests;
