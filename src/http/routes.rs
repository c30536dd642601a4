//! All routes of the server.
//!
//! The routes of an engine exist twice: below `/v1` for the default engine, and below
//! `/v1/engines/{engine}` for a named one. Four routes have a short alias.

use super::{
    Endpoint, docs,
    health::{detailed, live, ready, summary},
    v1::{
        admin, chat::completions, completions as text_completions, embeddings, engines, events,
        generate, keys, log_level, me, messages, messages::count_tokens, models, moderations,
        responses, state,
    },
};

/// Every route, with its handlers and their access requirements.
pub fn endpoints() -> Vec<Endpoint> {
    [default_engine(), named_engine(), server(), health(), aliases(), documentation()]
        .into_iter()
        .flatten()
        .collect()
}

/// Routes of the default engine.
fn default_engine() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/generate").post(generate::post),
        Endpoint::at("/v1/chat/completions").post(completions::post),
        Endpoint::at("/v1/completions").post(text_completions::post),
        Endpoint::at("/v1/messages").post(messages::post),
        Endpoint::at("/v1/messages/count_tokens").post(count_tokens::post),
        Endpoint::at("/v1/responses").post(responses::post),
        Endpoint::at("/v1/responses/{id}").get(responses::stored::get),
        Endpoint::at("/v1/responses/{id}/input_items").get(responses::stored::input_items),
        Endpoint::at("/v1/models").get(models::list),
        Endpoint::at("/v1/models/{model:.+}").get(models::get),
        Endpoint::at("/v1/moderations").post(moderations::post),
        Endpoint::at("/v1/embeddings").post(embeddings::post),
        Endpoint::at("/v1/state").get(state::get),
        Endpoint::at("/v1/events").get(events::list),
        // before `{position}`, which would match it
        Endpoint::at("/v1/events/stream").get(events::stream::get),
        Endpoint::at("/v1/events/{position}").get(events::get),
        Endpoint::at("/v1/admin/shutdown").post(admin::shutdown),
        Endpoint::at("/v1/admin/resume").post(admin::resume),
    ]
}

/// Routes of the engine in the path.
fn named_engine() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/engines/{engine}/generate").post(generate::post),
        Endpoint::at("/v1/engines/{engine}/chat/completions").post(completions::post),
        Endpoint::at("/v1/engines/{engine}/completions").post(text_completions::post),
        Endpoint::at("/v1/engines/{engine}/messages").post(messages::post),
        Endpoint::at("/v1/engines/{engine}/messages/count_tokens").post(count_tokens::post),
        Endpoint::at("/v1/engines/{engine}/responses").post(responses::post),
        Endpoint::at("/v1/engines/{engine}/responses/{id}").get(responses::stored::get),
        Endpoint::at("/v1/engines/{engine}/responses/{id}/input_items")
            .get(responses::stored::input_items),
        Endpoint::at("/v1/engines/{engine}/models").get(models::list),
        Endpoint::at("/v1/engines/{engine}/models/{model:.+}").get(models::get),
        Endpoint::at("/v1/engines/{engine}/moderations").post(moderations::post),
        Endpoint::at("/v1/engines/{engine}/embeddings").post(embeddings::post),
        Endpoint::at("/v1/engines/{engine}/state").get(state::get),
        Endpoint::at("/v1/engines/{engine}/events").get(events::list),
        Endpoint::at("/v1/engines/{engine}/events/stream").get(events::stream::get),
        Endpoint::at("/v1/engines/{engine}/events/{position}").get(events::get),
        Endpoint::at("/v1/engines/{engine}/admin/shutdown").post(admin::shutdown),
        Endpoint::at("/v1/engines/{engine}/admin/resume").post(admin::resume),
    ]
}

/// Routes of the server.
fn server() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/engines").get(engines::list).post(engines::post),
        Endpoint::at("/v1/keys").get(keys::list).post(keys::post),
        Endpoint::at("/v1/keys/{id}").delete(keys::delete),
        Endpoint::at("/v1/keys/{id}/rotate").post(keys::rotate),
        Endpoint::at("/v1/admin/log-level").get(log_level::get).put(log_level::put),
        Endpoint::at("/v1/me").get(me::get),
    ]
}

/// Health probes.
fn health() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/health").get(summary::get),
        Endpoint::at("/health/live").get(live::get),
        Endpoint::at("/health/ready").get(ready::get),
        Endpoint::at("/health/detailed").get(detailed::get),
    ]
}

/// Short paths.
fn aliases() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/generate").post(generate::post),
        Endpoint::at("/admin/shutdown").post(admin::shutdown),
        Endpoint::at("/me").get(me::get),
        Endpoint::at("/status").get(detailed::get),
    ]
}

/// The OpenAPI document and its viewer.
fn documentation() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/openapi.json").get(docs::document),
        Endpoint::at("/docs").get(docs::redirect),
        Endpoint::at("/docs/{file:.*}").get(docs::viewer),
    ]
}
