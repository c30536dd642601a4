//! The JSON form of a tool call.

use serde_json::{Map, Value};

use crate::llm::object::{Writer, quoted};

/// Writes the fields of a call, or of the first or a later part of one.
pub(super) fn write_call(
    call: &mut Writer,
    id: Option<&str>,
    name: Option<&str>,
    arguments: &str,
    extra: &Map<String, Value>,
) {
    if let Some(id) = id {
        call.text("id", id);
        if !extra.contains_key("type") {
            call.raw("type", "\"function\"");
        }
    }
    for (name, value) in extra {
        call.raw(name, &value.to_string());
    }
    let is_custom = extra.get("type").is_some_and(|kind| kind == "custom");
    let (field, argument) = if is_custom { ("custom", "input") } else { ("function", "arguments") };
    let mut function = Writer::new();
    if let Some(name) = name {
        function.text("name", name);
    }
    function.raw(argument, &quoted(arguments));
    call.raw(field, &function.end());
}
