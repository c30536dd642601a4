use std::collections::BTreeSet;

use actix_web::{http::Method, test as app_test};
use mlsdm::{
    domain::policy::Policy,
    http::{create_app, openapi},
    testkit::{TestDatabase, run_mlsdm},
};
use serde_json::Value;

use crate::{health::state, log::Process};

/// Every path except those of the viewer.
const SERVED: &[&str] = &[
    "/generate",
    "/admin/shutdown",
    "/me",
    "/v1/me",
    "/v1/generate",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/responses/{id}",
    "/v1/responses/{id}/input_items",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/moderations",
    "/v1/embeddings",
    "/v1/state",
    "/v1/events",
    "/v1/events/stream",
    "/v1/events/{position}",
    "/v1/admin/shutdown",
    "/v1/admin/resume",
    "/v1/admin/log-level",
    "/v1/keys",
    "/v1/keys/{id}",
    "/v1/keys/{id}/rotate",
    "/v1/engines",
    "/v1/engines/{engine}/generate",
    "/v1/engines/{engine}/chat/completions",
    "/v1/engines/{engine}/completions",
    "/v1/engines/{engine}/messages",
    "/v1/engines/{engine}/messages/count_tokens",
    "/v1/engines/{engine}/responses",
    "/v1/engines/{engine}/responses/{id}",
    "/v1/engines/{engine}/responses/{id}/input_items",
    "/v1/engines/{engine}/models",
    "/v1/engines/{engine}/models/{model}",
    "/v1/engines/{engine}/moderations",
    "/v1/engines/{engine}/embeddings",
    "/v1/engines/{engine}/state",
    "/v1/engines/{engine}/events",
    "/v1/engines/{engine}/events/stream",
    "/v1/engines/{engine}/events/{position}",
    "/v1/engines/{engine}/admin/shutdown",
    "/v1/engines/{engine}/admin/resume",
    "/health",
    "/health/live",
    "/health/ready",
    "/health/detailed",
    "/status",
    "/openapi.json",
];

fn document() -> Value {
    serde_json::to_value(openapi::document()).unwrap()
}

#[actix_web::test]
async fn served_and_documented_paths_are_the_same() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(documented, SERVED.iter().copied().collect());

    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    drop(process.default(&Policy::default()).await);
    let app = app_test::init_service(create_app(state(&process).await)).await;
    for (path, item) in paths {
        let methods: BTreeSet<String> = item.as_object().unwrap().keys().cloned().collect();
        let uri = path.replace("{engine}", "default").replace("{position}", "1");
        let uri = uri.replace("{model}", "local-stub");
        // the response to an unsupported method lists the supported ones
        let request = app_test::TestRequest::default().method(Method::TRACE).uri(&uri).to_request();
        let response = app_test::call_service(&app, request).await;
        assert_eq!(response.status(), 405, "{path}");
        let allow = response.headers().get("allow").unwrap().to_str().unwrap().to_lowercase();
        let allowed: BTreeSet<String> =
            allow.split(", ").filter(|m| *m != "head").map(str::to_owned).collect();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[test]
fn operation_ids_are_unique_and_references_resolve() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{path}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{path}");
            let none = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&none);
            for name in ["engine", "position"] {
                let named = parameters.iter().any(|p| p["name"] == name && p["in"] == "path");
                assert_eq!(named, path.contains(&format!("{{{name}}}")), "{path} {name}");
            }
        }
    }
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[test]
fn the_file_in_deploy_is_the_output_of_the_command() {
    let printed = run_mlsdm("sqlite://unused.db", &["openapi"], &[]).exits(0).stdout;
    let committed = include_str!("../../deploy/openapi.json");
    assert!(printed == committed, "run `mlsdm-dev generate`");
    assert!(printed.ends_with("}\n"));
}
