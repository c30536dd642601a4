//! Durations as command line arguments.

/// Parses a number with a unit, such as 90s, 15m, 1h or 7d, as seconds.
pub(super) fn seconds(text: &str) -> Result<u32, &'static str> {
    let must = "write a number and s, m, h or d, such as 90s, 15m, 1h or 7d";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(must)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(must),
    };
    number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit)).ok_or(must)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, expected) in
            [("0s", 0), ("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800)]
        {
            assert_eq!(seconds(text), Ok(expected));
        }
        for bad in ["", "s", "7", "-1s", "1.5h", "1w", "99999999999s", "999999d", "é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
