//! The time limits of a call.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{LlmError, activity::Activity};

/// Minimum time for a call. With less left none is begun, because it would be billed and could not be
/// answered.
const CALL_MIN: Duration = Duration::from_millis(100);

/// The provider's share of the limit between two bytes: one that was silent for less, because the call
/// began late, is not at fault for a time-out.
const OWN_TIME: f64 = 0.5;

/// The time limits of a call, with all retries and fallbacks.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// The first byte must arrive before this time.
    pub first: Instant,
    /// Maximum time between two bytes.
    pub idle: Duration,
    /// The answer must be complete before this time.
    pub total: Instant,
    /// The time that a silent provider has if nothing before its call takes any.
    pub own: Duration,
}

impl From<Instant> for Deadline {
    /// One limit for the whole call.
    fn from(total: Instant) -> Self {
        let left = total.saturating_duration_since(Instant::now());
        Self { first: total, idle: left, total, own: left }
    }
}

impl Deadline {
    /// The time before which an attempt must begin.
    pub(super) fn attempts(&self) -> Instant {
        self.first.min(self.total)
    }

    /// True if a call may begin after this delay.
    pub fn has_time_after(&self, delay: Duration) -> bool {
        Instant::now() + delay + CALL_MIN <= self.attempts()
    }

    /// The error of a call that exceeded a limit. A database or a queue that was slow before the call
    /// shortens its time; that is not the provider's fault.
    fn exceeded(&self, silent_since: Instant) -> LlmError {
        let had_own_time = silent_since.elapsed() >= self.own.mul_f64(OWN_TIME);
        if had_own_time { LlmError::Timeout } else { LlmError::CutOff }
    }

    /// The result of a call that begins now, or an error if a limit is exceeded.
    pub(super) async fn limit<T>(
        &self,
        activity: &Arc<Activity>,
        call: impl Future<Output = Result<T, LlmError>>,
    ) -> Result<T, LlmError> {
        let (mut call, began) = (pin!(call), Instant::now());
        let limit = || activity.limit(self.first, self.idle).min(self.total);
        loop {
            tokio::select! {
                biased;
                result = &mut call => return result,
                () = sleep_until(limit()) => {
                    if Instant::now() >= limit() {
                        return Err(self.exceeded(activity.silent_since(began)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn deadline() -> Deadline {
        let now = Instant::now();
        let own = 30 * SECOND;
        Deadline { first: now + own, idle: own, total: now + 600 * SECOND, own }
    }

    async fn flow(activity: &Activity, times: u32, pause: Duration) -> Result<(), LlmError> {
        for _ in 0..times {
            sleep(pause).await;
            activity.touch();
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_flows_is_limited_only_in_total() {
        let activity = Arc::new(Activity::default());
        let flows = deadline().limit(&activity, flow(&activity, 20, 25 * SECOND)).await;
        assert_eq!(flows, Ok(()));
        let started = Instant::now();
        let endless = deadline().limit(&activity, flow(&activity, 1_000, 25 * SECOND)).await;
        assert_eq!((endless, started.elapsed()), (Err(LlmError::CutOff), 600 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_call_ends_at_the_limit_until_the_first_byte_and_between_bytes() {
        let started = Instant::now();
        let activity = Arc::new(Activity::default());
        let silent = deadline().limit(&activity, flow(&activity, 1, 31 * SECOND)).await;
        assert_eq!((silent, started.elapsed()), (Err(LlmError::Timeout), 30 * SECOND));
        let started = Instant::now();
        let stalls = async {
            flow(&activity, 1, 20 * SECOND).await?;
            flow(&activity, 1, 31 * SECOND).await
        };
        let stalls = deadline().limit(&activity, stalls).await;
        assert_eq!((stalls, started.elapsed()), (Err(LlmError::Timeout), 50 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_no_idle_provider() {
        let activity = Arc::new(Activity::default());
        let waits = async {
            let waiting = activity.wait_for_client();
            sleep(90 * SECOND).await;
            drop(waiting);
            Ok(())
        };
        assert_eq!(deadline().limit(&activity, waits).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_is_not_at_fault_for_a_call_that_began_too_late() {
        let late = async |delay: Duration| {
            let (deadline, activity) = (deadline(), Arc::new(Activity::default()));
            sleep(delay).await;
            assert!(deadline.has_time_after(Duration::ZERO));
            deadline.limit(&activity, std::future::pending::<Result<(), LlmError>>()).await
        };
        assert_eq!(late(10 * SECOND).await, Err(LlmError::Timeout));
        assert_eq!(late(20 * SECOND).await, Err(LlmError::CutOff));
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_is_at_fault_for_a_silence_as_long_as_a_short_total_limit() {
        let (now, own) = (Instant::now(), 10 * SECOND);
        let deadline =
            Deadline { first: now + 30 * SECOND, idle: 30 * SECOND, total: now + own, own };
        let activity = Arc::new(Activity::default());
        let silent = deadline.limit(&activity, std::future::pending::<Result<(), LlmError>>());
        assert_eq!(silent.await, Err(LlmError::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_needs_a_minimum_of_time() {
        let deadline = Deadline::from(Instant::now() + SECOND);
        assert!(deadline.has_time_after(SECOND.saturating_sub(CALL_MIN)));
        assert!(!deadline.has_time_after(SECOND.saturating_sub(CALL_MIN / 2)));
        sleep(2 * SECOND).await;
        assert!(!deadline.has_time_after(Duration::ZERO));
    }
}
