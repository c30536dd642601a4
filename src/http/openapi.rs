//! The OpenAPI document, generated from the handlers, and its viewer.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{HttpResponse, http::header, web};
use utoipa::{
    OpenApi,
    openapi::{
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{ObjectBuilder, SchemaType, Type},
    },
};
use utoipa_swagger_ui::Config;

mod security;

use super::{Code, Endpoint, Problem, access::Anyone, health, v1};

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

/// Where paths begin that are not an engine's own.
const OF_SERVER: [&str; 4] = ["/v1/engines", "/v1/me", v1::keys::PATH, v1::log_level::PATH];

/// The handlers with their own paths; [`document`] adds the copies.
#[derive(OpenApi)]
#[openapi(
    info(title = "MLSDM Cognitive API", description = "A governed cognitive memory server."),
    servers((url = "/", description = "This server")),
    tags(
        (name = "steps", description = "Governed steps"),
        (name = "compatible", description = "The APIs of OpenAI and Anthropic: their clients work unchanged"),
        (name = "state", description = "What an engine knows"),
        (name = "audit", description = "The log"),
        (name = "engines", description = "Engines: memories with a policy and a log of their own"),
        (name = "admin", description = "Emergency shutdown, and how much is logged"),
        (name = "identity", description = "Who is calling"),
        (name = "keys", description = "API keys, kept in the server's own log"),
        (name = "health", description = "Probes; no authentication"),
        (name = "documentation", description = "This document"),
    ),
    paths(
        v1::generate::post,
        v1::chat::completions::post,
        v1::messages::post,
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
        json,
    )
)]
struct Handlers;

/// The whole API: every route with each of its paths. A handler that is not listed above is not
/// documented; a test compares with what is served.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Handlers::openapi();
    let paths = &mut document.paths.paths;
    let of_engines: Vec<(String, PathItem)> = paths
        .iter()
        .filter(|(path, _)| !is_of_server(path))
        .filter_map(|(path, item)| {
            let rest = path.strip_prefix("/v1/")?;
            Some((format!("{}/{rest}", v1::ENGINE_SCOPE), of_engine(item.clone())))
        })
        .collect();
    for (alias, path) in v1::ALIASES.iter().chain(&health::ALIASES) {
        if let Some(item) = paths.get(*path).cloned() {
            paths.insert((*alias).to_owned(), item);
        }
    }
    paths.extend(of_engines);
    for (path, item) in paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
        }
    }
    security::describe(&mut document);
    document
}

/// The document as text: pretty, its keys in a stable order, with a final newline.
pub fn text(document: &utoipa::openapi::OpenApi) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(document).map(|text| text + "\n")
}

/// Whether a path is one of the server and not of its engines.
fn is_of_server(path: &str) -> bool {
    let below = |own| {
        path.strip_prefix(own).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'))
    };
    OF_SERVER.into_iter().any(below)
}

/// The same operations on the engine that the path names.
fn of_engine(mut item: PathItem) -> PathItem {
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
        .description(Some("The engine"))
        .schema(Some(name))
        .build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("delete", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Unique and lasting: `get_v1_events_position`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// `/openapi.json`, and its viewer with bundled assets at `/docs/`.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at(DOCUMENT).get(json),
        Endpoint::at("/docs").get(to_viewer),
        Endpoint::at("/docs/{file:.*}").get(viewer),
    ]
}

/// Whether an endpoint is one of these.
pub(super) fn is_docs(endpoint: &Endpoint) -> bool {
    let path = endpoint.path();
    path == DOCUMENT || path.starts_with("/docs")
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documentation",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object))
)]
fn json(_: Anyone) -> Ready<web::Json<utoipa::openapi::OpenApi>> {
    ready(web::Json(document()))
}

/// The viewer's files are named relative to `/docs/`.
fn to_viewer(_: Anyone) -> Ready<HttpResponse> {
    ready(HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/docs/")).finish())
}

fn viewer(_: Anyone, file: web::Path<String>) -> Ready<Result<HttpResponse, Problem>> {
    let config = Arc::new(Config::from("/openapi.json"));
    ready(match utoipa_swagger_ui::serve(&file.into_inner(), config) {
        Ok(Some(file)) => {
            let mut response = HttpResponse::Ok();
            if file.gzpipped {
                response.insert_header(header::ContentEncoding::Gzip);
            }
            Ok(response.content_type(file.content_type).body(file.bytes.into_owned()))
        }
        Ok(None) => Err(Problem::new(Code::NotFound, "the documentation has no such file")),
        Err(error) => Err(Problem::internal(&*error)),
    })
}
