//! Messages of Anthropic.

mod check;
mod conversation;
mod render;

use serde_json::json;

use super::{Received, Refusal, cached, cached::tokens, wire::Response};
use crate::testkit::strict::Face;

pub(super) use check::check;
pub(super) use render::render;

/// Counts the tokens of a request.
pub(super) fn count(request: &Received) -> Result<Response, Refusal> {
    let body = request.object()?;
    check::check_count(request, &body)?;
    let blocks = cached::blocks(Face::Messages, &body);
    let count: u64 = blocks.iter().map(|block| tokens(block)).sum();
    Ok(Response::json(200, json!({ "input_tokens": count }).to_string()))
}
