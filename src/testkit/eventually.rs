//! Waiting for something that another task or process does.
#![expect(clippy::panic, reason = "test support: a panic is the report")]

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, sleep};

/// Longest wait of [`eventually`]. It bounds a hang and is not an expectation: a busy machine may
/// be slow by orders of magnitude without failing a test.
pub const EVENTUALLY: Duration = Duration::from_mins(1);

/// Pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Calls `probe` until it succeeds and returns its value.
///
/// `what` completes the sentence "… did not happen". The panic after [`EVENTUALLY`] shows the last
/// error of the probe.
pub async fn eventually<T, E: Display>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + EVENTUALLY;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(error) if Instant::now() >= deadline => {
                panic!("{what} did not happen within {EVENTUALLY:?}: {error}");
            }
            Err(_) => sleep(PROBE_INTERVAL).await,
        }
    }
}
