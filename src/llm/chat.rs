//! Requests and answers of models, independent of any provider's API.
//!
//! A client may use the dialect of one provider. Each message then holds its original JSON besides
//! the text that this server understands. A provider of the same dialect receives the original;
//! for another one it is translated, or the request is refused. What is left out is named.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::{
    domain::event::{Sampling, Usage},
    json::{self, Fields},
};

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The application.
    System,
    /// The end user; also the context from the memory.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// A request format that a client uses and a provider understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Chat completions by `OpenAI`.
    OpenAi,
    /// Messages by Anthropic.
    Anthropic,
    /// Responses by `OpenAI`.
    Responses,
}

/// One message of a chat.
#[derive(Clone)]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The text of the message.
    pub text: String,
    /// The original JSON, if the message has more than plain text.
    pub raw: Option<Arc<RawValue>>,
}

impl Message {
    /// A message that consists of a text only.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, text: text.into(), raw: None }
    }

    /// A message that is a JSON string. A string that is not written as this server would write it
    /// keeps its JSON, so that it can be passed on byte for byte.
    ///
    /// # Errors
    /// The JSON is not a string.
    pub fn from_json(role: Role, json: Arc<RawValue>) -> Result<Self, serde_json::Error> {
        let text: String = json::read(&json)?;
        let raw = (json::raw(&text)?.get() != json.get()).then_some(json);
        Ok(Self { role, text, raw })
    }

    /// True if the message is a text alone: its JSON, if there is any, is that of the text.
    pub fn is_text(&self) -> bool {
        self.raw.as_ref().is_none_or(|raw| raw.get().starts_with('"'))
    }

    /// The JSON of a message that is not a text alone.
    pub fn parts(&self) -> Option<&Arc<RawValue>> {
        self.raw.as_ref().filter(|_| !self.is_text())
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", &self.role)?;
        map.serialize_entry("text", &self.text)?;
        if let Some(raw) = &self.raw {
            map.serialize_entry("raw", &**raw)?;
        }
        map.end()
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let raw = |message: &Self| message.raw.as_deref().map(RawValue::get).map(str::to_owned);
        self.role == other.role && self.text == other.text && raw(self) == raw(other)
    }
}

/// Omits the text, which must not reach a log.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.role, self.text.len())
    }
}

/// The messages of a chat. A clone shares them, and an insertion copies only pointers.
#[derive(Clone, Debug, PartialEq)]
pub struct Messages(Arc<[Arc<Message>]>);

impl Messages {
    /// These messages with another one at an index, or at the end.
    #[must_use]
    pub fn with_inserted(&self, index: usize, message: Message) -> Self {
        let (before, after) = self.split_at(index.min(self.len()));
        let inserted = std::iter::once(Arc::new(message));
        Self(before.iter().cloned().chain(inserted).chain(after.iter().cloned()).collect())
    }

    /// These messages with another one in place of that at an index.
    #[must_use]
    pub fn with_replaced(&self, index: usize, message: Message) -> Self {
        let mut messages: Arc<[Arc<Message>]> = self.iter().cloned().collect();
        if let Some(place) = Arc::get_mut(&mut messages).and_then(|all| all.get_mut(index)) {
            *place = Arc::new(message);
        }
        Self(messages)
    }
}

impl FromIterator<Message> for Messages {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        Self(messages.into_iter().map(Arc::new).collect())
    }
}

impl From<Vec<Message>> for Messages {
    fn from(messages: Vec<Message>) -> Self {
        messages.into_iter().collect()
    }
}

impl Deref for Messages {
    type Target = [Arc<Message>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Serialize for Messages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(AsRef::as_ref))
    }
}

/// Request fields other than the messages (`tools`, `stop`, `top_p`, …), as the client sent them.
#[derive(Clone, Default, PartialEq, Serialize)]
pub struct Extra {
    /// The dialect of the fields; `None` if there are no fields.
    pub dialect: Option<Dialect>,
    /// The fields by their names in that dialect, in the client's order. Those that this server sets,
    /// such as the limit of the answer, are there as the client sent them.
    pub fields: Fields,
    /// HTTP headers that pass to a provider of the same dialect, names in lower case. They are not
    /// recorded.
    #[serde(skip)]
    pub headers: Vec<(String, String)>,
}

impl Extra {
    /// The sampling parameters among the fields, with this temperature; `None` if there are none.
    pub fn sampling(&self, temperature: Option<f64>) -> Option<Sampling> {
        let sampling = Sampling {
            temperature,
            top_p: self.fields.read("top_p").ok().flatten(),
            seed: self.fields.read("seed").ok().flatten(),
        };
        (sampling != Sampling::default()).then_some(sampling)
    }
}

/// Omits the fields: tools and stop sequences may quote a prompt.
impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extra({:?}, {} fields)", self.dialect, self.fields.len())
    }
}

/// A request field that limits the tokens of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitField {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
    /// `max_output_tokens`.
    MaxOutputTokens,
}

impl LimitField {
    /// The name of the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
        }
    }
}

/// Maximum number of tokens of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimit {
    /// The number of tokens.
    pub tokens: u32,
    /// The field in which the client named the limit; `None` if the client named none.
    pub field: Option<LimitField>,
}

impl From<u32> for TokenLimit {
    fn from(tokens: u32) -> Self {
        Self { tokens, field: None }
    }
}

/// Serializes the number only: the name of the field does not change what the client asked for.
impl Serialize for TokenLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.tokens.serialize(serializer)
    }
}

/// A request to a model.
#[derive(Clone, Debug)]
pub struct Request {
    /// The requested model; `None` for the configured one.
    pub model: Option<String>,
    /// The chat, including the context and the prompt.
    pub messages: Messages,
    /// The prompt, without the context; empty if the chat has only media.
    pub prompt: Arc<str>,
    /// Maximum number of tokens of the answer; `None` leaves it to the provider.
    pub max_tokens: Option<TokenLimit>,
    /// Sampling temperature; `None` for the configured one.
    pub temperature: Option<f64>,
    /// Whether the model takes a temperature, as far as the configuration says it.
    pub takes_temperature: Option<bool>,
    /// Further fields.
    pub extra: Arc<Extra>,
}

impl Request {
    /// The sampling parameters, if there are any.
    pub fn sampling(&self) -> Option<Sampling> {
        self.extra.sampling(self.temperature)
    }
}

/// A call of one of the client's tools, requested by the model.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id that the tool's result refers to.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments: a JSON text, as the model wrote it.
    pub arguments: String,
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall({} bytes)", self.arguments.len())
    }
}

/// The provider's report on a complete answer. The text is in the [`Sink`](super::Sink).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCompletion {
    /// The model's name as the provider reports it.
    pub model: String,
    /// Why the model stopped, in the terms of `OpenAI`: `stop`, `length`, `tool_calls` or
    /// `content_filter`.
    pub finish_reason: String,
    /// Token counts, if the provider reports them.
    pub usage: Option<Usage>,
}

/// A complete answer of a [`Function`](super::Function).
#[derive(Clone)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// The model's name.
    pub model: String,
    /// Why the model stopped: `stop` or `length`.
    pub finish_reason: String,
    /// Token counts; if both are zero, they are estimated.
    pub usage: Usage,
}

impl Reply {
    /// An answer with estimated token counts.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            model: "function".to_owned(),
            finish_reason: "stop".to_owned(),
            usage: Usage::default(),
        }
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes, {})", self.text.len(), self.finish_reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insertion_shares_the_other_messages() {
        let messages: Messages =
            ["one", "two"].into_iter().map(|text| Message::text(Role::User, text)).collect();
        let inserted = messages.with_inserted(1, Message::text(Role::User, "context"));
        let texts: Vec<&str> = inserted.iter().map(|message| message.text.as_str()).collect();
        assert_eq!(texts, ["one", "context", "two"]);
        assert!(Arc::ptr_eq(&inserted[0], &messages[0]) && Arc::ptr_eq(&inserted[2], &messages[1]));
        assert_eq!(messages.with_inserted(9, Message::text(Role::User, "last"))[2].text, "last");
    }

    #[test]
    fn messages_are_serialized_as_a_list() {
        let messages = Messages::from(vec![Message::text(Role::User, "Hi")]);
        let json = serde_json::to_string(&messages).unwrap();
        assert_eq!(json, r#"[{"role":"user","text":"Hi"}]"#);
    }
}
