//! Waiting for something that another task or process does.
#![expect(clippy::panic, reason = "test support: a panic is the report")]

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, sleep};

/// The longest wait of a test for anything. It bounds a hang and is not an expectation: a busy
/// machine may be slow by orders of magnitude without failing a test.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Calls `probe` until it succeeds and returns its value.
///
/// `what` completes the sentence "… did not happen". The panic after [`DEADLINE`] shows the last
/// error of the probe.
pub async fn eventually<T, E: Display>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(error) if Instant::now() >= deadline => {
                panic!("{what} did not happen within {DEADLINE:?}: {error}");
            }
            Err(_) => sleep(PROBE_INTERVAL).await,
        }
    }
}
