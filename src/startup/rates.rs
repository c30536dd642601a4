//! The rate limiter of a configuration.

use crate::{
    config::RateLimits,
    rates::{Rate, Rates},
};

/// The rate limiter, or none if rate limits are off.
pub(super) fn rates(config: &RateLimits) -> Option<Rates> {
    if config.disabled {
        return None;
    }
    let rate = Rate::new(config.requests, config.window, Some(config.burst))?;
    let roles = config
        .roles()
        .filter_map(|role| Some((role.role, Rate::new(role.requests, role.window, role.burst)?)));
    Some(Rates::new(rate, roles.collect(), config.holders))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn configured(variables: &[(&str, &str)]) -> RateLimits {
        let env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sources = Sources { file: None, dir: "/nonexistent".into(), env, flags: Vec::new() };
        Config::load(sources).unwrap().config.limits.rate
    }

    #[test]
    fn rates_are_limited_unless_limits_are_disabled() {
        let rate = |variables: &[(&str, &str)]| {
            let rate = rates(&configured(variables))?.for_roles([]);
            Some((rate.requests.get(), rate.window.as_secs(), rate.burst.get()))
        };
        assert_eq!(rate(&[]), Some((100, 60, 20)));
        assert_eq!(rate(&[("DISABLE_RATE_LIMIT", "false")]), Some((100, 60, 20)));
        assert_eq!(rate(&[("DISABLE_RATE_LIMIT", "true")]), None);
        let given = [("RATE_LIMIT_REQUESTS", "7"), ("RATE_LIMIT_WINDOW", "9")];
        assert_eq!(rate(&given), Some((7, 9, 20)));
    }

    #[test]
    fn the_burst_of_a_role_is_a_fifth_of_its_requests_unless_given() {
        let rates = rates(&configured(&[(
            "MLSDM__LIMITS__RATE__ROLES",
            "service=1000/60,a = 3 / 1 / 7,b=1/1",
        )]));
        let rates = rates.unwrap();
        let of = |role| {
            let rate = rates.for_roles([role]);
            (rate.requests.get(), rate.window.as_secs(), rate.burst.get())
        };
        assert_eq!([of("service"), of("a"), of("b")], [(1000, 60, 200), (3, 1, 7), (1, 1, 1)]);
    }

    #[test]
    fn every_configurable_rate_is_a_rate() {
        let most = [
            ("RATE_LIMIT_REQUESTS", "1000000"),
            ("RATE_LIMIT_WINDOW", "86400"),
            ("MLSDM__LIMITS__RATE__BURST", "1000000"),
        ];
        let least = [
            ("RATE_LIMIT_REQUESTS", "1"),
            ("RATE_LIMIT_WINDOW", "1"),
            ("MLSDM__LIMITS__RATE__BURST", "1"),
        ];
        assert!(rates(&configured(&most)).is_some() && rates(&configured(&least)).is_some());
    }
}
