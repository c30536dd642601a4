//! The system clock. Deliberately the only reader of it: everything else is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::domain::ids::Micros;

/// Microseconds since the Unix epoch; 0 on a clock set before it.
#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
pub fn now_micros() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as Micros
}

/// A time given as RFC 3339; none if the text is none.
pub fn micros(text: &str) -> Option<Micros> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    // the years 0 to 9999 are fewer microseconds than an integer has
    Some((time.unix_timestamp_nanos() / 1_000) as Micros)
}

/// A time of the log as RFC 3339 with microseconds, in UTC.
pub fn rfc3339(micros: Micros) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| micros.to_string())
}
