//! Answers in the provider's own dialect, for clients of the same dialect.
//!
//! A dialect has more than the neutral parts of an answer can express: signatures, log probabilities,
//! citations, media. A client of the same dialect gets them as the provider sent them.

mod anthropic;
mod citations;
mod event;
mod openai;
mod responses;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Dialect;
pub use citations::Citation;
pub use event::NativeEvent;

/// Maximum number of names of lost parts.
const LOST_MAX: usize = 32;

/// A whole answer in the provider's dialect: the response body without its ids.
#[derive(Clone, Serialize, Deserialize)]
pub struct NativeAnswer {
    /// The dialect.
    pub dialect: Dialect,
    /// The response body: a JSON object.
    pub message: Box<RawValue>,
}

impl NativeAnswer {
    /// The answer as events, as if it had been streamed.
    pub fn events(&self) -> Vec<NativeEvent> {
        let events = match self.dialect {
            Dialect::OpenAi => openai::events(self.message.get()),
            Dialect::Anthropic => anthropic::events(self.message.get()),
            Dialect::Responses => responses::events(self.message.get()),
        };
        events.unwrap_or_default().into_iter().map(NativeEvent::on_one_line).collect()
    }

    /// The sources on the web that the answer names.
    pub fn citations(&self) -> Vec<Citation> {
        citations::of(self.dialect, self.message.get()).unwrap_or_default()
    }

    /// The names of the parts that a client of another dialect does not get.
    pub fn lost(&self) -> Vec<String> {
        let lost = match self.dialect {
            Dialect::OpenAi => openai::lost(self.message.get()),
            Dialect::Anthropic => anthropic::lost(self.message.get()),
            Dialect::Responses => responses::lost(self.message.get()),
        };
        let mut names = lost.unwrap_or_default();
        names.retain(|name| is_name(name));
        names.sort_unstable();
        names.dedup();
        names.truncate(LOST_MAX);
        names
    }
}

/// True for a name as APIs use them. Other names come from nobody's documentation and may quote a text.
fn is_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_known)
}

impl PartialEq for NativeAnswer {
    fn eq(&self, other: &Self) -> bool {
        self.dialect == other.dialect && self.message.get() == other.message.get()
    }
}

/// Omits the message, which must not reach a log.
impl fmt::Debug for NativeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NativeAnswer({:?}, {} bytes)", self.dialect, self.message.get().len())
    }
}
