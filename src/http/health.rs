//! `/health`: whether the process lives, is well, and wants traffic. Deliberately not here: anything
//! secret, engine names included; nobody authenticates for these routes.

pub mod detailed;
pub mod live;
pub mod pulse;
pub mod ready;
pub mod summary;

use super::Endpoint;

/// Other paths of routes: (alias, path).
pub(super) const ALIASES: [(&str, &str); 1] = [("/status", "/health/detailed")];

/// The health routes.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/health").get(summary::get),
        Endpoint::at("/health/live").get(live::get),
        Endpoint::at("/health/ready").get(ready::get),
        Endpoint::at("/health/detailed").get(detailed::get),
        Endpoint::at("/status").get(detailed::get),
    ]
}
