//! `limits.rate`: how often one holder may ask.

use serde::Deserialize;

use super::error::{Fault, check};
use crate::rates::{Rate, Rates};

/// How often one holder may ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    disabled: bool,
    requests: u32,
    window: u64,
    burst: u32,
    holders: usize,
    roles: Vec<String>,
}

impl RateLimits {
    /// The limiter, unless rates are not limited.
    pub fn rates(&self) -> Option<Rates> {
        if self.disabled {
            return None;
        }
        let roles = self.roles.iter().filter_map(|text| role(text)).collect();
        let rate = Rate::new(self.requests, self.window, Some(self.burst))?;
        Some(Rates::new(rate, roles, self.holders))
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let requests = Rate::new(self.requests, 1, Some(1)).is_some();
        check(requests, "limits.rate.requests", "between 1 and 1000000")?;
        let window = Rate::new(1, self.window, Some(1)).is_some();
        check(window, "limits.rate.window", "between 1 and 86400 seconds")?;
        let burst = Rate::new(1, 1, Some(self.burst)).is_some();
        check(burst, "limits.rate.burst", "between 1 and 1000000")?;
        let holders = (1_000..=10_000_000).contains(&self.holders);
        check(holders, "limits.rate.holders", "between 1000 and 10000000")?;
        let roles = self.roles.iter().all(|text| role(text).is_some());
        let must = "a list of ROLE=REQUESTS/SECONDS or ROLE=REQUESTS/SECONDS/BURST, requests and \
                    bursts between 1 and 1000000, seconds between 1 and 86400";
        check(roles, "limits.rate.roles", must)
    }
}

/// A role and its rate: `service=1000/60` or `service=1000/60/200`.
fn role(text: &str) -> Option<(String, Rate)> {
    let (name, numbers) = text.split_once('=')?;
    let mut numbers = numbers.split('/');
    let requests: u32 = numbers.next()?.trim().parse().ok()?;
    let window = numbers.next()?.trim().parse().ok()?;
    let burst = match numbers.next() {
        Some(burst) => Some(burst.trim().parse().ok()?),
        None => None,
    };
    let name = name.trim();
    let complete = !name.is_empty() && numbers.next().is_none();
    Some((name.to_owned(), Rate::new(requests, window, burst).filter(|_| complete)?))
}

#[cfg(test)]
mod tests {
    use super::role;

    #[test]
    fn rates_of_roles_are_read() {
        let (name, rate) = role("service=1000/60").unwrap();
        assert_eq!((name.as_str(), rate.requests.get(), rate.burst.get()), ("service", 1000, 200));
        assert_eq!(rate.window.as_secs(), 60);
        assert_eq!(role(" a = 3 / 1 / 7 ").unwrap().1.burst.get(), 7);
        assert_eq!(role("a=1/1").unwrap().1.burst.get(), 1);
        for bad in ["", "a", "a=", "a=1", "=1/1", "a=0/1", "a=1/0", "a=1/1/0", "a=1/1/1/1"] {
            assert!(role(bad).is_none(), "{bad}");
        }
        for bad in ["a=-1/1", "a=1/86401", "a=1000001/1", "a=x/1", "a=99999999999/1"] {
            assert!(role(bad).is_none(), "{bad}");
        }
    }
}
