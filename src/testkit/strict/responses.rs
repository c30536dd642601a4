//! Responses of OpenAI.

mod check;
mod render;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Refusal;

pub(super) use check::check;
pub(super) use render::{id, render};

/// Puts the items of `previous_response_id` before the input, and stored items in the place of their
/// references.
pub(super) fn resume(
    body: &mut Value,
    stored: &HashMap<String, Vec<Value>>,
) -> Result<(), Refusal> {
    for item in body["input"].as_array_mut().into_iter().flatten() {
        if item["type"] == "item_reference" {
            let mut known = stored.values().flatten();
            let Some(found) = known.find(|known| known["id"] == item["id"]) else {
                let text = format!("Item with id '{}' not found.", item["id"]);
                return Err(Refusal::invalid("input", text).status(404, "invalid_request_error"));
            };
            *item = found.clone();
        }
    }
    let Some(id) = body["previous_response_id"].as_str() else { return Ok(()) };
    let Some(items) = stored.get(id) else {
        let text = format!("Previous response with id '{id}' not found.");
        let refusal = Refusal::invalid("previous_response_id", text);
        return Err(refusal.code("previous_response_not_found"));
    };
    let mut items = items.clone();
    items.extend(input_items(body));
    body["input"] = items.into();
    Ok(())
}

/// The input as items.
fn input_items(body: &Value) -> Vec<Value> {
    body["input"].as_str().map_or_else(
        || body["input"].as_array().cloned().unwrap_or_default(),
        |text| vec![json!({"role": "user", "content": text})],
    )
}
