//! The OpenAPI document: descriptions, examples, and error codes.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::{dev::Service as _, test as app_test, web};
use serde_json::Value;

use crate::{
    clock,
    http::{
        Code, create_app,
        openapi::{self, examples::Example},
    },
    testkit::guarded_app_state,
};

/// An API key with all permissions.
const ADMIN_KEY: &str = "a-key-of-a-test-4711";

fn operations() -> Vec<(String, Value)> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let named = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
    });
    named.collect()
}

/// The contents of a request body or response that are JSON, with their media type.
fn contents(part: &Value) -> Vec<(&String, &Value)> {
    let contents = part["content"].as_object();
    contents.into_iter().flatten().filter(|(kind, _)| kind.ends_with("json")).collect()
}

#[test]
fn every_operation_has_a_summary_and_a_description() {
    for (name, operation) in operations() {
        for field in ["summary", "description"] {
            let text = operation[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name} has no {field}");
        }
        let summary = operation["summary"].as_str().unwrap();
        assert!(summary.len() < 60 && !summary.contains('\n'), "{name}: {summary}");
    }
}

#[test]
fn every_request_and_every_successful_response_has_an_example() {
    for (name, operation) in operations() {
        for (kind, content) in contents(&operation["requestBody"]) {
            assert!(content["example"].is_object(), "{name}: no example of the request ({kind})");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            if !status.starts_with('2') {
                continue;
            }
            let contents = response["content"].as_object().unwrap();
            for (kind, content) in contents {
                assert!(content["example"].is_object(), "{name} {status}: no example ({kind})");
            }
        }
    }
}

#[test]
fn every_error_example_agrees_with_the_table_of_codes() {
    let mut found = BTreeSet::new();
    for (name, operation) in operations() {
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (_, content) in contents(response) {
                let examples = content["examples"].as_object();
                for (key, example) in examples.into_iter().flatten() {
                    let code = Code::ALL.iter().find(|code| code.text() == key);
                    let code = code.unwrap_or_else(|| panic!("{name}: {key} is not a code"));
                    assert_eq!(code.status().as_u16().to_string(), *status, "{name} {key}");
                    assert_eq!(example["summary"], code.title(), "{name} {key}");
                    agrees(&example["value"], *code, &name);
                    let description = response["description"].as_str().unwrap();
                    assert!(description.contains(key), "{name} {status}: {description}");
                    found.insert(key.clone());
                }
            }
        }
    }
    assert!(found.len() > 45, "{found:?}");
}

fn agrees(body: &Value, code: Code, name: &str) {
    assert!(!code.example_detail().is_empty(), "{code:?}");
    let Some(error) = body.get("error") else {
        assert_eq!(body["status"], code.status().as_u16(), "{name} {code:?}");
        assert_eq!(body["code"], code.text(), "{name}");
        assert_eq!(body["title"], code.title(), "{name}");
        assert_eq!(body["type"], format!("/docs/errors#{}", code.text()), "{name}");
        assert_eq!(body["detail"], code.example_detail(), "{name}");
        return;
    };
    assert_eq!(error["mlsdm_code"], code.text(), "{name} {error}");
    assert!(error["message"].as_str().unwrap().starts_with(code.title()), "{name} {error}");
}

#[test]
fn every_error_response_has_an_example_of_each_code() {
    for (name, operation) in operations() {
        for (status, response) in operation["responses"].as_object().unwrap() {
            // the only error response with a body that is not an error
            let degraded = name == "get /health" && status == "503";
            if status.starts_with('2') || degraded {
                continue;
            }
            for (_, content) in contents(response) {
                let examples = content["examples"].as_object().map_or(0, serde_json::Map::len);
                let listed = response["description"].as_str().unwrap().matches("; E").count() + 1;
                assert_eq!(examples, listed, "{name} {status}");
            }
        }
    }
}

/// The same structure: equal keys and equal types, wherever the example has a value.
fn same_structure(example: &Value, real: &Value, at: &str) {
    match (example, real) {
        (Value::Object(example), Value::Object(real)) => {
            let keys = |object: &serde_json::Map<String, Value>| {
                object.keys().cloned().collect::<BTreeSet<_>>()
            };
            assert_eq!(keys(example), keys(real), "{at}");
            for (key, value) in example {
                same_structure(value, &real[key], &format!("{at}.{key}"));
            }
        }
        (Value::Array(example), Value::Array(real)) => {
            if let (Some(example), Some(real)) = (example.first(), real.first()) {
                same_structure(example, real, &format!("{at}[0]"));
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (example, real) => assert_eq!(kind(example), kind(real), "{at}: {example} and {real}"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn request(example: &Example, id: &str) -> app_test::TestRequest {
    let uri = example.path.replace("{position}", "1").replace("{model}", "local-stub");
    let request = app_test::TestRequest::default()
        .method(example.method.to_uppercase().parse().unwrap())
        .uri(&uri.replace("{id}", id))
        .insert_header(("x-api-key", ADMIN_KEY));
    match &example.request {
        Some(body) => request.set_json(body),
        None => request,
    }
}

#[actix_web::test]
async fn every_example_is_answered_as_documented() {
    let env = [("MLSDM__AUTH__MODE", "keys"), ("ADMIN_API_KEY", ADMIN_KEY)];
    let clock = Arc::new(clock::now_micros);
    let (state, _database) = guarded_app_state(&env, clock).await;
    let app = app_test::init_service(create_app(web::Data::new(state))).await;
    let examples = openapi::examples::examples();
    assert!(!examples.is_empty(), "examples.json is not valid");
    let mut id = String::new();
    for example in &examples {
        let name = format!("{} {}", example.method, example.path);
        let response = app.call(request(example, &id).to_request()).await.unwrap();
        assert_eq!(response.status().as_u16(), example.status, "{name}");
        if response.headers().get("content-type").unwrap() == "text/event-stream" {
            // does not end
            continue;
        }
        let body: Value = app_test::read_body_json(response).await;
        if ["/v1/keys", "/v1/responses"].contains(&&*example.path) && example.method == "post" {
            body["id"].as_str().unwrap().clone_into(&mut id);
        }
        let documented = example.response.as_ref().unwrap();
        // the example of the document itself is shortened
        if example.path != "/openapi.json" {
            same_structure(documented, &body, &name);
        }
    }
}
