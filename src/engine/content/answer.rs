//! The content of an answer, and its JSON form, in which each text occurs once.
//!
//! The answer in the provider's dialect quotes the text and the reasoning. Its JSON is stored in parts,
//! with references in place of long texts. Contents that have it as a whole (`native`) stay readable.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use crate::llm::{Dialect, NativeAnswer, ToolCall};

/// The size from which a text is stored once, in bytes of its JSON form.
const SHARED_MIN: usize = 128;

/// The content of `step.completed`, and of `step.failed` if the model had begun to answer.
#[derive(Default)]
pub(in crate::engine) struct StoredAnswer {
    pub(in crate::engine) answer: String,
    pub(in crate::engine) tool_calls: Vec<ToolCall>,
    pub(in crate::engine) reasoning: String,
    /// The answer in the provider's dialect.
    pub(in crate::engine) native: Option<NativeAnswer>,
    /// The names of the fields that the client's or the provider's dialect has no form for.
    pub(in crate::engine) dropped: Vec<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    answer: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [ToolCall],
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    native: Option<&'a NativeAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_parts: Option<NativeParts<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dropped: &'a [String],
}

#[derive(Deserialize)]
struct Read {
    answer: String,
    #[serde(default)]
    tool_calls: Vec<ToolCall>,
    #[serde(default)]
    reasoning: String,
    #[serde(default)]
    native: Option<NativeAnswer>,
    #[serde(default)]
    native_parts: Option<ReadParts>,
    #[serde(default)]
    dropped: Vec<String>,
}

/// The JSON of an answer in the provider's dialect.
#[derive(Serialize)]
struct NativeParts<'a> {
    dialect: Dialect,
    parts: Vec<Part<&'a str>>,
}

#[derive(Deserialize)]
struct ReadParts {
    dialect: Dialect,
    parts: Vec<Part<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part<T> {
    /// JSON text.
    Json(T),
    /// The JSON form of a text of the content.
    Text(Shared),
}

/// A text of the content.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shared {
    Answer,
    Reasoning,
}

impl Serialize for StoredAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let native = self.native.as_ref();
        let parts = native.and_then(|native| self.parts(native));
        Written {
            answer: &self.answer,
            tool_calls: &self.tool_calls,
            reasoning: &self.reasoning,
            native: native.filter(|_| parts.is_none()),
            native_parts: parts,
            dropped: &self.dropped,
        }
        .serialize(serializer)
    }
}

impl StoredAnswer {
    /// The answer in parts; `None` if it quotes no long text as this server writes it.
    fn parts<'a>(&self, native: &'a NativeAnswer) -> Option<NativeParts<'a>> {
        let message = native.message.get();
        let mut found: Vec<(usize, usize, Shared)> = Vec::new();
        for shared in [Shared::Answer, Shared::Reasoning] {
            let text = self.text(shared);
            if text.len() + 2 < SHARED_MIN {
                continue;
            }
            let json = serde_json::to_string(text).ok()?;
            if let Some(at) = message.find(&json) {
                found.push((at, at + json.len(), shared));
            }
        }
        found.sort_unstable_by_key(|(from, ..)| *from);
        let (mut parts, mut end) = (Vec::new(), 0);
        for (from, to, shared) in found {
            // equal texts may be found at one place
            if let Some(before) = message.get(end..from) {
                parts.extend([Part::Json(before), Part::Text(shared)]);
                end = to;
            }
        }
        if parts.is_empty() {
            return None;
        }
        parts.push(Part::Json(message.get(end..)?));
        Some(NativeParts { dialect: native.dialect, parts })
    }

    fn text(&self, shared: Shared) -> &str {
        match shared {
            Shared::Answer => &self.answer,
            Shared::Reasoning => &self.reasoning,
        }
    }

    /// The answer in the provider's dialect, from its parts.
    fn joined(&self, read: ReadParts) -> Result<NativeAnswer, serde_json::Error> {
        let mut message = String::new();
        for part in read.parts {
            match part {
                Part::Json(json) => message.push_str(&json),
                Part::Text(shared) => message.push_str(&serde_json::to_string(self.text(shared))?),
            }
        }
        Ok(NativeAnswer { dialect: read.dialect, message: RawValue::from_string(message)? })
    }
}

impl<'de> Deserialize<'de> for StoredAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { answer, tool_calls, reasoning, native, native_parts, dropped } =
            Read::deserialize(deserializer)?;
        let mut stored = Self { answer, tool_calls, reasoning, native, dropped };
        if let Some(parts) = native_parts {
            stored.native = Some(stored.joined(parts).map_err(D::Error::custom)?);
        }
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(answer: &str, reasoning: &str, message: &str) -> StoredAnswer {
        let message = RawValue::from_string(message.to_owned()).unwrap();
        StoredAnswer {
            answer: answer.to_owned(),
            reasoning: reasoning.to_owned(),
            native: Some(NativeAnswer { dialect: Dialect::OpenAi, message }),
            ..StoredAnswer::default()
        }
    }

    fn quoted(text: &str) -> String {
        serde_json::to_string(text).unwrap()
    }

    #[test]
    fn a_long_text_is_stored_once_and_the_answer_of_the_provider_is_read_byte_for_byte() {
        let (answer, reasoning) = ("Grüße \"x\"\n".repeat(100), "because ".repeat(100));
        let (text, why) = (quoted(&answer), quoted(&reasoning));
        for message in [
            format!(r#"{{"b": {text} ,"a":{why},"n":1.50}}"#),
            format!(r#"{{"a":{why},"b":{text},"again":{text}}}"#),
            format!(r#"{{"a":[{text}]}}"#),
        ] {
            let json = serde_json::to_string(&stored(&answer, &reasoning, &message)).unwrap();
            assert_eq!((json.matches(&text).count(), json.matches(&why).count()), (1, 1));
            let read: StoredAnswer = serde_json::from_str(&json).unwrap();
            assert_eq!((&read.answer, &read.reasoning), (&answer, &reasoning));
            assert_eq!(read.native.unwrap().message.get(), message);
        }
    }

    #[test]
    fn equal_texts_and_texts_that_the_provider_wrote_otherwise_are_kept() {
        let text = "word ".repeat(100);
        let escaped = quoted(&text).replace("word", r"\u0077ord");
        for (reasoning, message) in [
            (text.as_str(), format!(r#"{{"a":{0},"b":{0}}}"#, quoted(&text))),
            ("", format!(r#"{{"a":{escaped}}}"#)),
        ] {
            let json = serde_json::to_string(&stored(&text, reasoning, &message)).unwrap();
            let read: StoredAnswer = serde_json::from_str(&json).unwrap();
            assert_eq!(read.native.unwrap().message.get(), message);
        }
    }

    #[test]
    fn contents_with_the_whole_answer_of_the_provider_stay_readable() {
        let old = r#"{"answer":"Hi","native":{"dialect":"open_ai","message":{"content":"Hi"}}}"#;
        let read: StoredAnswer = serde_json::from_str(old).unwrap();
        assert_eq!(read.native.as_ref().unwrap().message.get(), r#"{"content":"Hi"}"#);
        assert_eq!(serde_json::to_string(&read).unwrap(), old, "a short text is not shared");
        let oldest: StoredAnswer = serde_json::from_str(r#"{"answer":"Hi"}"#).unwrap();
        assert!(oldest.native.is_none() && oldest.answer == "Hi");
    }
}
