//! The fields of a request that its response repeats.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    json::{self, Fields},
    llm::{Message, NamedTool, is_instructions, renamed_tools},
};

/// The repeated fields, in the order of the API, each with the value of a request that does not name it.
const REPEATED: [(&str, &str); 16] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("service_tier", "\"default\""),
    ("store", "true"),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
    ("metadata", "{}"),
];

/// The fields of a request that its response repeats.
#[derive(Clone, Default)]
pub(super) struct Echo {
    fields: Fields,
    instructions: Option<String>,
    /// The tools whose calls have another form in chat completions.
    renamed: Vec<NamedTool>,
}

impl Echo {
    /// What the response to a request with these messages and fields repeats.
    pub(super) fn of(messages: &[Message], mut fields: Fields, continued: Option<&str>) -> Self {
        if let Some(continued) = continued {
            // a text always has a JSON form
            fields.set("previous_response_id", continued).ok();
        }
        let first = messages.first().filter(|message| is_instructions(message));
        let instructions = first.map(|message| message.text.clone());
        Self { renamed: renamed_tools(&fields), fields, instructions }
    }

    /// The tool that a call in chat completions names, if its calls have another form there.
    pub(super) fn tool(&self, flat_name: &str) -> Option<&NamedTool> {
        self.renamed.iter().find(|tool| tool.flat_name == flat_name)
    }

    /// True if the tool takes a free text.
    pub(super) fn is_custom(&self, flat_name: &str) -> bool {
        self.tool(flat_name).is_some_and(|tool| tool.is_custom)
    }

    /// True if the answer must have a given form.
    pub(super) fn is_formed(&self) -> bool {
        let text: Option<Fields> = self.fields.read("text").ok().flatten();
        let format: Option<Fields> = text.and_then(|text| text.read("format").ok().flatten());
        let kind: Option<String> = format.and_then(|format| format.read("type").ok().flatten());
        kind.is_some_and(|kind| kind != "text")
    }

    /// The value of each repeated field.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (&'static str, Arc<RawValue>)> {
        REPEATED.iter().filter_map(|(name, default)| {
            let given = self.fields.get(name).filter(|given| !json::is_null(given));
            let value = match (*name, given) {
                ("instructions", _) => json::raw(&self.instructions).ok()?,
                (_, Some(given)) => Arc::clone(given),
                (_, None) => Arc::from(RawValue::from_string((*default).to_owned()).ok()?),
            };
            Some((*name, value))
        })
    }
}

impl Serialize for Echo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let repeated: Fields =
            self.repeated().map(|(name, value)| (name.to_owned(), value)).collect();
        repeated.serialize(serializer)
    }
}
