//! `/v1`: each engine route exists for the default engine and under `/v1/engines/{engine}`.

pub mod admin;
mod bounds;
pub mod chat;
pub mod embeddings;
pub mod engines;
pub mod events;
pub mod generate;
pub mod keys;
pub mod log_level;
pub mod me;
pub mod messages;
pub mod models;
pub mod moderations;
pub mod state;

use actix_web::http::Method;

use super::Endpoint;

/// Where engines are, below the version.
pub(super) const ENGINES: &str = "/engines";

/// Where the routes of a named engine begin.
pub(super) const ENGINE_SCOPE: &str = "/v1/engines/{engine}";

/// Where an engine's own routes begin: the default one's, and a named one's.
const SCOPES: [&str; 2] = ["/v1", ENGINE_SCOPE];

/// Other paths of routes: (alias, path).
pub(super) const ALIASES: [(&str, &str); 3] =
    [("/generate", "/v1/generate"), ("/admin/shutdown", "/v1/admin/shutdown"), ("/me", "/v1/me")];

/// All routes of version 1, and the aliases the deployment guide names.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = SCOPES.into_iter().flat_map(of_engines).collect();
    endpoints.extend([
        Endpoint::at("/generate").on(Method::POST, generate::post),
        Endpoint::at("/admin/shutdown").on(Method::POST, admin::shutdown),
        Endpoint::at(log_level::PATH).get(log_level::get).on(Method::PUT, log_level::put),
        Endpoint::at("/v1/me").get(me::get),
        Endpoint::at("/me").get(me::get),
        Endpoint::at(keys::PATH).get(keys::list).on(Method::POST, keys::post),
        Endpoint::at("/v1/keys/{id}").on(Method::DELETE, keys::delete),
        Endpoint::at("/v1/keys/{id}/rotate").on(Method::POST, keys::rotate),
        Endpoint::at("/v1/engines").get(engines::list).on(Method::POST, engines::post),
    ]);
    endpoints
}

fn of_engines(scope: &str) -> Vec<Endpoint> {
    let at = |path: &str| Endpoint::at(&format!("{scope}{path}"));
    vec![
        at("/generate").on(Method::POST, generate::post),
        at("/chat/completions").on(Method::POST, chat::completions::post),
        at("/embeddings").on(Method::POST, embeddings::post),
        at("/moderations").on(Method::POST, moderations::post),
        at("/models").get(models::list),
        at("/models/{model:.+}").get(models::get),
        at("/messages").on(Method::POST, messages::post),
        at("/state").get(state::get),
        at("/events").get(events::list),
        // before the positions, which are any word as far as routing goes
        at("/events/stream").get(events::stream::get),
        at("/events/{position}").get(events::get),
        at("/admin/shutdown").on(Method::POST, admin::shutdown),
        at("/admin/resume").on(Method::POST, admin::resume),
    ]
}
