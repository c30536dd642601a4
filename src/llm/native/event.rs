//! One event of a stream in a provider's dialect.

use std::fmt;

/// One event of a stream in the provider's dialect. The ids, the end of the answer and the token
/// counts are not in it: the server writes them.
#[derive(Clone, PartialEq, Eq)]
pub struct NativeEvent {
    /// The name of the event; empty in a dialect without names.
    pub name: String,
    /// The data: a JSON object.
    pub data: String,
}

impl NativeEvent {
    /// The event with its data on one line, as events are sent. In a JSON text, a line break is white
    /// space.
    #[must_use]
    pub(in crate::llm) fn on_one_line(self) -> Self {
        if self.data.contains(['\n', '\r']) {
            let data = self.data.replace(['\n', '\r'], " ");
            return Self { data, ..self };
        }
        self
    }
}

/// Omits the data, which must not reach a log.
impl fmt::Debug for NativeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NativeEvent({}, {} bytes)", self.name, self.data.len())
    }
}
