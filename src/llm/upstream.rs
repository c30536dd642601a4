//! One provider with what protects it and its callers: breaker, bulkhead, and trying again.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    BreakerSettings, LlmError, Provider, ProviderCompletion, Request, Sink, metrics::Attempts,
};
use crate::{
    breaker::{Breaker, Permit},
    limiter::Limiter,
};

/// Longest wait for a place in the bulkhead; the deadline of every call is earlier.
const PLACE_WAIT: Duration = Duration::from_hours(1);

/// How a failed call is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Most calls for one answer, the first included.
    pub attempts: u32,
    /// Longest wait before the second call; doubled for each further one.
    pub base: Duration,
    /// Longest wait ever, but for one that the provider asks for.
    pub max: Duration,
}

/// How many calls of one provider may run and wait.
#[derive(Clone, Copy, Debug)]
pub struct Bulkhead {
    /// Calls that run at once.
    pub concurrency: usize,
    /// Calls that wait for those; more are refused.
    pub queue: usize,
}

/// What protects a provider and its callers.
#[derive(Clone, Copy, Debug)]
pub struct Resilience {
    /// How a failed call is tried again.
    pub retry: Retry,
    /// When the provider is left alone.
    pub breaker: BreakerSettings,
    /// How many calls may run and wait.
    pub bulkhead: Bulkhead,
}

impl Resilience {
    /// One call, whatever happened before: for what runs in this process.
    pub const NONE: Self = Self {
        retry: Retry { attempts: 1, base: Duration::ZERO, max: Duration::ZERO },
        breaker: BreakerSettings { failures: 0, open: Duration::ZERO, probes: 1 },
        bulkhead: Bulkhead { concurrency: tokio::sync::Semaphore::MAX_PERMITS, queue: 0 },
    };
}

/// A provider and what protects it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) provider: Provider,
    breaker: Breaker,
    bulkhead: Limiter,
    retry: Retry,
    pub(super) attempts: Attempts,
}

impl Upstream {
    pub(super) fn new(provider: Provider, resilience: Resilience) -> Self {
        let Resilience { retry, breaker, bulkhead } = resilience;
        Self {
            breaker: Breaker::new("llm", provider.name(), breaker),
            bulkhead: Limiter::new(bulkhead.concurrency, bulkhead.queue, PLACE_WAIT),
            provider,
            retry,
            attempts: Attempts::default(),
        }
    }

    /// The breaker's state.
    pub(super) fn breaker(&self) -> &'static str {
        self.breaker.state().name()
    }

    /// Asks, and asks again where that may help, until the deadline. Adds to `attempts` the calls
    /// made. With an `alternative`, a provider that wants a long wait is not waited for.
    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
        deadline: Instant,
        alternative: bool,
        attempts: &mut u32,
    ) -> Result<ProviderCompletion, LlmError> {
        let mut tries = 0;
        loop {
            let result = self.attempt(request, sink, deadline, attempts).await;
            self.attempts.count(&result);
            tries += 1;
            let Err(error) = &result else { return result };
            if !error.is_retryable() || sink.has_started() || tries >= self.retry.attempts {
                return result;
            }
            let wait = self.retry.wait(tries, error);
            if Instant::now() + wait >= deadline || (alternative && wait > self.retry.max) {
                return result;
            }
            sleep(wait).await;
        }
    }

    /// Asks once.
    async fn attempt(
        &self,
        request: &Request,
        sink: &mut Sink,
        deadline: Instant,
        attempts: &mut u32,
    ) -> Result<ProviderCompletion, LlmError> {
        let place = timeout_at(deadline, self.bulkhead.admit()).await;
        let Ok(Some(_place)) = place else { return Err(LlmError::BulkheadFull) };
        let permit = self.breaker.admit();
        let permit = permit.map_err(|retry_after| LlmError::BreakerOpen { retry_after })?;
        let call = timeout_at(deadline, self.provider.call(request, sink));
        let result = call.await.unwrap_or(Err(LlmError::Timeout));
        // what cannot be said was not sent
        *attempts += u32::from(!matches!(result, Err(LlmError::Untranslatable { .. })));
        tell(permit, &result);
        result
    }
}

/// Tells the breaker what a call shows of the provider.
fn tell<T>(permit: Permit, result: &Result<T, LlmError>) {
    match result {
        Err(error) if error.is_fault() => permit.failed(),
        // refused, but by somebody who is there
        Ok(_) | Err(LlmError::Refused { .. } | LlmError::TooLong) => permit.succeeded(),
        Err(_) => drop(permit),
    }
}

impl Retry {
    /// How long to wait after so many calls: random up to a bound that doubles, so that callers
    /// who failed together do not come again together; but no less than the provider asks for.
    fn wait(&self, tries: u32, error: &LlmError) -> Duration {
        let doubled = 2_u32.saturating_pow(tries - 1);
        let bound = self.base.saturating_mul(doubled).min(self.max);
        let jittered = bound.mul_f64(f64::from(crate::ids::random_bits()) / f64::from(u32::MAX));
        if let LlmError::Overloaded { retry_after: Some(least) } = error {
            return jittered.max(*least);
        }
        jittered
    }
}

#[cfg(test)]
mod tests;
