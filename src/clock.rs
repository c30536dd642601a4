//! Reads the system clock, and converts times of the log from and to RFC 3339.
//!
//! No other module reads the system clock: code that needs the time receives it as an argument or
//! as a function, so that tests control it.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::domain::ids::Micros;

/// The current time in microseconds since the Unix epoch; 0 if the clock is set before the epoch.
#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
pub fn now_micros() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as Micros
}

/// Parses an RFC 3339 time; `None` if the text is not one.
pub fn micros(text: &str) -> Option<Micros> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    // the years 0 to 9999, which RFC 3339 covers, fit into an `i64` of microseconds
    Some((time.unix_timestamp_nanos() / 1_000) as Micros)
}

/// Formats a time of the log as RFC 3339, in UTC with microseconds. A time outside the years that
/// RFC 3339 covers is printed as its number of microseconds.
pub fn rfc3339(micros: Micros) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| micros.to_string())
}
