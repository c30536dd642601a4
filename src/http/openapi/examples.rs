//! Adds an example of the request and the response to each operation.
//!
//! The examples are requests and responses of a real server. A test sends each request and compares the
//! structure of the response with its example.

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::{OpenApi, RefOr};

use super::operations::operations;

/// The examples, in an order in which a new server answers all requests successfully.
const EXAMPLES: &str = include_str!("examples.json");

/// An example of an operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Example {
    /// The method in lower case.
    pub(in crate::http) method: String,
    /// The path as in the document.
    pub(in crate::http) path: String,
    /// The body of the request.
    pub(in crate::http) request: Option<Value>,
    /// The status of the response.
    pub(in crate::http) status: u16,
    /// The body of the response.
    pub(in crate::http) response: Option<Value>,
    /// An event of a streamed response.
    pub(in crate::http) event: Option<Value>,
}

/// All examples. A test checks that the file is valid.
pub(in crate::http) fn examples() -> Vec<Example> {
    serde_json::from_str(EXAMPLES).unwrap_or_default()
}

/// Adds the examples to the operations of a document.
pub(super) fn add(document: &mut OpenApi) {
    for example in examples() {
        let Some(item) = document.paths.paths.get_mut(&example.path) else { continue };
        let found = operations(item).find(|(method, _)| *method == example.method);
        let Some((_, operation)) = found else { continue };
        if let Some(RefOr::T(body)) = &mut operation.request_body
            && let Some(RefOr::T(content)) = body.content.get_mut("application/json")
        {
            content.example = example.request;
        }
        let response = operation.responses.responses.get_mut(&example.status.to_string());
        let Some(RefOr::T(response)) = response else { continue };
        if let Some(RefOr::T(content)) = response.content.get_mut("application/json") {
            content.example = example.response;
        }
        if let Some(RefOr::T(content)) = response.content.get_mut("text/event-stream") {
            content.example = example.event;
        }
    }
}
