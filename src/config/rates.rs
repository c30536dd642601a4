//! `limits.rate`: the rate limit of each client.

use std::ops::RangeInclusive;

use serde::Deserialize;

use super::error::{Fault, check};

const REQUESTS: RangeInclusive<u32> = 1..=1_000_000;
const WINDOW_SECONDS: RangeInclusive<u64> = 1..=86_400;

/// The rate limit of each client.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    /// Turns rate limits off.
    pub disabled: bool,
    /// Requests per window in the long run.
    pub requests: u32,
    /// Length of the window in seconds.
    pub window: u64,
    /// Requests that may arrive at once.
    pub burst: u32,
    /// Clients that are counted separately; all others share one count.
    pub holders: usize,
    roles: Vec<String>,
}

/// The rate of a role: `service=1000/60` or `service=1000/60/200`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRate {
    /// The role.
    pub role: String,
    /// Requests per window.
    pub requests: u32,
    /// Length of the window in seconds.
    pub window: u64,
    /// Requests that may arrive at once, if given.
    pub burst: Option<u32>,
}

impl RateLimits {
    /// The roles with a rate of their own.
    pub fn roles(&self) -> impl Iterator<Item = RoleRate> {
        self.roles.iter().filter_map(|text| role_rate(text))
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let requests = REQUESTS.contains(&self.requests);
        check(requests, "limits.rate.requests", "between 1 and 1000000")?;
        let window = WINDOW_SECONDS.contains(&self.window);
        check(window, "limits.rate.window", "between 1 and 86400 seconds")?;
        check(REQUESTS.contains(&self.burst), "limits.rate.burst", "between 1 and 1000000")?;
        let holders = (1_000..=10_000_000).contains(&self.holders);
        check(holders, "limits.rate.holders", "between 1000 and 10000000")?;
        let roles = self.roles.iter().all(|text| role_rate(text).is_some());
        let must = "a list of ROLE=REQUESTS/SECONDS or ROLE=REQUESTS/SECONDS/BURST, requests and \
                    bursts between 1 and 1000000, seconds between 1 and 86400";
        check(roles, "limits.rate.roles", must)
    }
}

fn role_rate(text: &str) -> Option<RoleRate> {
    let (role, numbers) = text.split_once('=')?;
    let role = role.trim().to_owned();
    let mut numbers = numbers.split('/').map(str::trim);
    let requests = numbers.next()?.parse().ok()?;
    let window = numbers.next()?.parse().ok()?;
    let burst = match numbers.next() {
        Some(burst) => Some(burst.parse().ok()?),
        None => None,
    };
    let valid = !role.is_empty()
        && numbers.next().is_none()
        && REQUESTS.contains(&requests)
        && WINDOW_SECONDS.contains(&window)
        && burst.is_none_or(|burst| REQUESTS.contains(&burst));
    valid.then_some(RoleRate { role, requests, window, burst })
}

#[cfg(test)]
mod tests {
    use super::{RoleRate, role_rate};

    #[test]
    fn rates_of_roles_are_parsed() {
        let rate = |role: &str, requests, window, burst| {
            Some(RoleRate { role: role.to_owned(), requests, window, burst })
        };
        assert_eq!(role_rate("service=1000/60"), rate("service", 1000, 60, None));
        assert_eq!(role_rate(" a = 3 / 1 / 7 "), rate("a", 3, 1, Some(7)));
        assert_eq!(role_rate("a=1/1"), rate("a", 1, 1, None));
        for bad in ["", "a", "a=", "a=1", "=1/1", "a=0/1", "a=1/0", "a=1/1/0", "a=1/1/1/1"] {
            assert!(role_rate(bad).is_none(), "{bad}");
        }
        for bad in ["a=-1/1", "a=1/86401", "a=1000001/1", "a=x/1", "a=99999999999/1"] {
            assert!(role_rate(bad).is_none(), "{bad}");
        }
    }
}
