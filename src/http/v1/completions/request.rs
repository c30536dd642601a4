//! Turns the request of a completion into one of a chat.

use serde::{Deserialize, Deserializer};
use serde_json::{json, value::RawValue};
use utoipa::ToSchema;

use crate::{
    http::{
        Problem,
        problem::from_actix,
        v1::{
            chat::completions::{ChatRequest, request::bad},
            fields::take,
        },
    },
    json::{self, Fields},
};

/// Fields that have no meaning in a chat, and the values that ask for nothing.
const MEANINGLESS: [(&str, &[&str]); 5] = [
    ("suffix", &["null", "\"\""]),
    ("echo", &["null", "false"]),
    ("best_of", &["null", "1"]),
    ("logprobs", &["null"]),
    ("top_logprobs", &["null"]),
];

/// A request for a completion. Other fields are those of a chat completion.
#[derive(ToSchema)]
pub struct CompletionRequest {
    /// The text, or a list of one text.
    #[schema(value_type = Object)]
    prompt: Box<RawValue>,
    #[schema(ignore)]
    rest: Fields,
}

impl<'de> Deserialize<'de> for CompletionRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rest = Fields::deserialize(deserializer)?;
        let prompt = take(&mut rest, "prompt")?;
        let prompt = prompt.ok_or_else(|| serde::de::Error::missing_field("prompt"))?;
        Ok(Self { prompt, rest })
    }
}

impl CompletionRequest {
    /// The same request on `/v1/chat/completions`.
    pub(super) fn into_chat(self) -> Result<ChatRequest, Problem> {
        let Self { prompt, mut rest } = self;
        let list = || json::read(&prompt).map(|[text]: [String; 1]| text);
        let text = json::read(&prompt).or_else(|_| list()).map_err(|_| {
            bad("prompt must be one text, not the ids of tokens; each answer is a step of its own, so \
                 send several texts in requests of their own")
        })?;
        for (name, nothing) in MEANINGLESS {
            let value = rest.remove(name);
            if value.is_some_and(|value| !nothing.contains(&value.get())) {
                return Err(bad(format!("{name} is not supported on this route; leave it out")));
            }
        }
        let unreadable = |_| bad("the fields cannot be read");
        rest.set("messages", &json!([{"role": "user", "content": text}])).map_err(unreadable)?;
        let chat = json::raw(&rest).and_then(|chat| json::read(&chat));
        chat.map_err(|error| from_actix::unparsable(&error))
    }
}
