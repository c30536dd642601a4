//! `/v1`: each engine route exists for the default engine and under `/v1/engines/{engine}`.

pub mod admin;
mod bounds;
pub mod chat;
pub mod embeddings;
pub mod engines;
pub mod events;
pub mod generate;
pub mod messages;
pub mod models;
pub mod moderations;
pub mod state;

use actix_web::{http::Method, web::ServiceConfig};

use super::Endpoint;

/// Where engines are, below the version.
pub(super) const ENGINES: &str = "/engines";

/// Where the routes of a named engine begin.
pub(super) const ENGINE_SCOPE: &str = "/v1/engines/{engine}";

/// Where an engine's own routes begin: the default one's, and a named one's.
const SCOPES: [&str; 2] = ["/v1", ENGINE_SCOPE];

/// Other paths of routes: (alias, path).
pub(super) const ALIASES: [(&str, &str); 2] =
    [("/generate", "/v1/generate"), ("/admin/shutdown", "/v1/admin/shutdown")];

/// All routes of version 1, and the aliases the deployment guide names.
pub fn routes(services: &mut ServiceConfig) {
    for scope in SCOPES {
        let at = |path: &str| Endpoint::at(&format!("{scope}{path}"));
        services
            .service(at("/generate").on(Method::POST, generate::post).build())
            .service(at("/chat/completions").on(Method::POST, chat::completions::post).build())
            .service(at("/embeddings").on(Method::POST, embeddings::post).build())
            .service(at("/moderations").on(Method::POST, moderations::post).build())
            .service(at("/models").get(models::list).build())
            .service(at("/models/{model:.+}").get(models::get).build())
            .service(at("/messages").on(Method::POST, messages::post).build())
            .service(at("/state").get(state::get).build())
            .service(at("/events").get(events::list).build())
            // before the positions, which are any word as far as routing goes
            .service(at("/events/stream").get(events::stream::get).build())
            .service(at("/events/{position}").get(events::get).build())
            .service(at("/admin/shutdown").on(Method::POST, admin::shutdown).build())
            .service(at("/admin/resume").on(Method::POST, admin::resume).build());
    }
    services
        .service(Endpoint::at("/generate").on(Method::POST, generate::post).build())
        .service(Endpoint::at("/admin/shutdown").on(Method::POST, admin::shutdown).build())
        .service(
            Endpoint::at("/v1/engines").get(engines::list).on(Method::POST, engines::post).build(),
        );
}
