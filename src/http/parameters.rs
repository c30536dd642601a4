//! Query parameters that several routes have.

use super::{Code, Problem};
use crate::{clock, domain::ids::Micros};

/// The error for an invalid parameter.
pub(super) fn bad(name: &str, must: &str) -> Problem {
    Problem::new(Code::BadParameter, format!("{name} must be {must}"))
}

/// Parses a time in RFC 3339.
pub(super) fn micros(name: &str, text: &str) -> Result<Micros, Problem> {
    clock::micros(text).ok_or_else(|| bad(name, "a time such as 2026-01-31T12:00:00Z"))
}
