//! `/health`: whether the process lives, is well, and wants traffic. Deliberately not here: anything
//! secret, engine names included; nobody authenticates for these routes.

pub mod detailed;
pub mod live;
pub mod pulse;
pub mod ready;
pub mod summary;

use actix_web::web::ServiceConfig;

use super::Endpoint;

/// Other paths of routes: (alias, path).
pub(super) const ALIASES: [(&str, &str); 1] = [("/status", "/health/detailed")];

/// The health routes.
pub fn routes(services: &mut ServiceConfig) {
    services
        .service(Endpoint::at("/health").get(summary::get).build())
        .service(Endpoint::at("/health/live").get(live::get).build())
        .service(Endpoint::at("/health/ready").get(ready::get).build())
        .service(Endpoint::at("/health/detailed").get(detailed::get).build())
        .service(Endpoint::at("/status").get(detailed::get).build());
}
