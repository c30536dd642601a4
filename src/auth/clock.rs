//! The clock of authentication.

use std::sync::Arc;

use crate::domain::ids::Micros;

/// Returns the current time; tests replace it.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// Whole seconds since the Unix epoch.
pub(super) fn now(clock: &Clock) -> i64 {
    clock().div_euclid(1_000_000)
}
