//! Parses prices into integers, so that sums of money are rounded only once.

use std::str::FromStr;

use crate::domain::budget::Price;

/// The text is not a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a price is INPUT/OUTPUT or INPUT/OUTPUT/CACHED_INPUT in US dollars per million tokens, such as 2.50/10 \
     or 2.50/10/0.25"
)]
pub struct BadPrice;

/// Maximum price of a million tokens, in US dollars.
const DOLLARS_MAX: u64 = 1_000_000;

/// Micro-dollars per dollar.
const MICROS: u64 = 1_000_000;

impl FromStr for Price {
    type Err = BadPrice;

    fn from_str(text: &str) -> Result<Self, BadPrice> {
        let (input, rest) = text.split_once('/').ok_or(BadPrice)?;
        let (output, cached) = match rest.split_once('/') {
            Some((output, cached)) => (output, Some(micros(cached)?)),
            None => (rest, None),
        };
        Ok(Self { input: micros(input)?, output: micros(output)?, cached_input: cached })
    }
}

/// Parses a decimal number of dollars with at most six decimals.
fn micros(text: &str) -> Result<u64, BadPrice> {
    let text = text.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return Err(BadPrice);
    }
    let dollars: u64 = whole.parse().map_err(|_| BadPrice)?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| BadPrice)?;
    if dollars > DOLLARS_MAX { Err(BadPrice) } else { Ok(dollars * MICROS + part) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Usage;

    #[test]
    fn prices_are_parsed_exactly() {
        let price: Price = "2.50/10".parse().unwrap();
        assert_eq!(price, Price { input: 2_500_000, output: 10_000_000, cached_input: None });
        let cached: Price = "2.50/10/0.25".parse().unwrap();
        assert_eq!(cached, Price { cached_input: Some(250_000), ..price });
        let usage = Usage::new(1_000, 1);
        assert_eq!(price.of(usage), 2_510);
        let tiny: Price = "0.000001/0".parse().unwrap();
        assert_eq!(tiny.of(Usage::new(1, 5)), 1, "rounded up");
        for bad in [
            "1/2/",
            "1/2/x",
            "1/2/3/4",
            "",
            "1",
            "1/",
            "/1",
            "-1/2",
            "1.2.3/4",
            "1e3/1",
            "0.0000001/1",
            "9999999/1",
        ] {
            assert_eq!(bad.parse::<Price>(), Err(BadPrice), "{bad}");
        }
    }
}
