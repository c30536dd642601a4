//! The OpenAPI document, generated from the handlers and their guards.

use utoipa::{
    OpenApi,
    openapi::{
        path::{Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{ObjectBuilder, SchemaType, Type},
    },
};

pub(super) mod examples;
mod operations;
mod security;

use super::{
    docs, health,
    paths::{ALIASES, ENGINE_SCOPE, KEYS, LOG_LEVEL, is_under},
    problem::{
        ProblemBody,
        envelope::{AnthropicError, OpenAiError},
    },
    v1,
};
use operations::operations;

/// Prefixes below `/v1` of routes that do not belong to an engine.
const SERVER_ROUTES: [&str; 4] = ["/v1/engines", "/v1/me", KEYS, LOG_LEVEL];

/// The handlers with one path each; [`document`] adds their other paths.
#[derive(OpenApi)]
#[openapi(
    info(title = "MLSDM Cognitive API", description = "A governed cognitive memory server."),
    servers((url = "/", description = "This server")),
    tags(
        (name = "steps", description = "Governed steps"),
        (name = "compatible", description = "APIs in the dialects of OpenAI and Anthropic; their clients work unchanged"),
        (name = "state", description = "State of an engine"),
        (name = "audit", description = "Event log of an engine"),
        (name = "engines", description = "Engines, each with its own memory, policy and event log"),
        (name = "admin", description = "Emergency shutdown and log level"),
        (name = "identity", description = "Identity and permissions of the caller"),
        (name = "keys", description = "API keys, stored in the system log"),
        (name = "health", description = "Health probes; no authentication"),
        (name = "documentation", description = "This document"),
    ),
    paths(
        v1::generate::post,
        v1::chat::completions::post,
        v1::completions::post,
        v1::messages::post,
        v1::messages::count_tokens::post,
        v1::responses::post,
        v1::responses::stored::get,
        v1::responses::stored::input_items,
        v1::models::list,
        v1::models::get,
        v1::moderations::post,
        v1::embeddings::post,
        v1::state::get,
        v1::events::list,
        v1::events::get,
        v1::events::stream::get,
        v1::engines::list,
        v1::engines::post,
        v1::admin::shutdown,
        v1::admin::resume,
        v1::log_level::get,
        v1::log_level::put,
        v1::me::get,
        v1::keys::list,
        v1::keys::post,
        v1::keys::delete,
        v1::keys::rotate,
        health::summary::get,
        health::live::get,
        health::ready::get,
        health::detailed::get,
        docs::document,
    ),
    components(schemas(ProblemBody, OpenAiError, AnthropicError))
)]
struct Handlers;

/// The document of all routes, with all their paths. A test compares it with the routes that are
/// served.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Handlers::openapi();
    examples::add(&mut document);
    let paths = &mut document.paths.paths;
    let named_engine: Vec<(String, PathItem)> = paths
        .iter()
        .filter(|(path, _)| !is_server_route(path))
        .filter_map(|(path, item)| {
            let rest = path.strip_prefix("/v1/")?;
            Some((format!("{ENGINE_SCOPE}/{rest}"), for_named_engine(item.clone())))
        })
        .collect();
    for (alias, path) in &ALIASES {
        if let Some(item) = paths.get(*path).cloned() {
            paths.insert((*alias).to_owned(), item);
        }
    }
    paths.extend(named_engine);
    for (path, item) in paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
        }
    }
    security::describe(&mut document);
    document
}

/// The document as indented JSON with a final newline. The order of keys is stable.
pub fn text(document: &utoipa::openapi::OpenApi) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(document).map(|text| text + "\n")
}

/// True for routes that do not belong to an engine.
fn is_server_route(path: &str) -> bool {
    SERVER_ROUTES.into_iter().any(|prefix| is_under(path, prefix))
}

/// Adds the engine parameter to a path's operations.
fn for_named_engine(mut item: PathItem) -> PathItem {
    for (_, operation) in operations(&mut item) {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.insert(0, engine_parameter().into());
    }
    item
}

fn engine_parameter() -> Parameter {
    let name = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some("^[a-z0-9_-]{1,64}$"));
    ParameterBuilder::new()
        .name("engine")
        .parameter_in(ParameterIn::Path)
        .description(Some("Id of the engine"))
        .schema(Some(name))
        .build()
}

/// Unique and stable, such as `get_v1_events_position`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}
