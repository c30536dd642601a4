//! The receiver of an answer: collects it for the log and forwards it to a client that streams.
//!
//! The channel to the client is bounded, so that a slow client slows the model down. After a failure
//! the sink still holds the part received before.

use tokio::{sync::mpsc, time::Instant};

use super::{LlmError, ToolCall};

/// Maximum size of an answer, in bytes. A longer one is cut.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Maximum number of tool calls of an answer.
const TOOL_CALLS_MAX: usize = 128;

/// Capacity of the channel of deltas to a client. If it is full, the model waits.
pub const DELTAS_MAX: usize = 64;

/// A piece of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Delta {
    /// More text.
    Text(String),
    /// A part of a tool call. The first part of each call names the tool.
    ToolCall {
        /// The index of the call, from 0.
        index: usize,
        /// The id of the call, in its first part.
        id: Option<String>,
        /// The name of the tool, in the first part.
        name: Option<String>,
        /// A part of the arguments.
        arguments: String,
    },
}

/// Omits the text, which must not reach a log.
impl std::fmt::Debug for Delta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::ToolCall { index, arguments, .. } => {
                write!(f, "ToolCall({index}, {} bytes)", arguments.len())
            }
        }
    }
}

/// Receives an answer delta by delta.
#[derive(Debug)]
pub struct Sink {
    client: Option<mpsc::Sender<Delta>>,
    text: String,
    tool_calls: Vec<ToolCall>,
    bytes: usize,
    first: Option<Instant>,
}

impl Sink {
    /// An empty sink. With a sender it forwards each delta to a client that streams.
    pub const fn new(client: Option<mpsc::Sender<Delta>>) -> Self {
        Self { client, text: String::new(), tool_calls: Vec::new(), bytes: 0, first: None }
    }

    /// True if the client streams. The provider is then requested to stream, too.
    pub const fn is_streaming(&self) -> bool {
        self.client.is_some()
    }

    /// True if the answer has begun. The call must not be retried then.
    pub const fn has_started(&self) -> bool {
        self.first.is_some()
    }

    /// The time of the first delta.
    pub const fn first_delta_at(&self) -> Option<Instant> {
        self.first
    }

    /// The text received so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tool calls received so far.
    pub fn tool_calls(&self) -> &[ToolCall] {
        &self.tool_calls
    }

    /// The text and the tool calls.
    pub fn into_parts(self) -> (String, Vec<ToolCall>) {
        (self.text, self.tool_calls)
    }

    /// Appends text.
    ///
    /// # Errors
    /// [`LlmError::CallerGone`], or [`LlmError::TooLong`] if the answer exceeds
    /// [`ANSWER_BYTES_MAX`]: the part that fits was appended, and the call should end.
    pub async fn push_text(&mut self, piece: &str) -> Result<(), LlmError> {
        let room = ANSWER_BYTES_MAX - self.bytes;
        let fitting = &piece[..piece.floor_char_boundary(room)];
        if !fitting.is_empty() {
            self.start(fitting.len());
            self.text.push_str(fitting);
            self.forward(Delta::Text(fitting.to_owned())).await?;
        }
        if fitting.len() < piece.len() { Err(LlmError::TooLong) } else { Ok(()) }
    }

    /// Appends to the tool call with this index.
    ///
    /// # Errors
    /// As [`Self::push_text`], and [`LlmError::Malformed`] if the indexes are not in order.
    pub async fn push_tool_call(
        &mut self,
        index: usize,
        id: Option<String>,
        name: Option<String>,
        arguments: String,
    ) -> Result<(), LlmError> {
        if index > self.tool_calls.len() || index >= TOOL_CALLS_MAX {
            return Err(LlmError::Malformed { what: "tool calls out of order" });
        }
        if self.bytes + arguments.len() > ANSWER_BYTES_MAX {
            return Err(LlmError::TooLong);
        }
        self.start(arguments.len());
        if index == self.tool_calls.len() {
            let (id, name) = (id.clone().unwrap_or_default(), name.clone().unwrap_or_default());
            self.tool_calls.push(ToolCall { id, name, arguments: String::new() });
        }
        if let Some(call) = self.tool_calls.get_mut(index) {
            call.arguments.push_str(&arguments);
        }
        self.forward(Delta::ToolCall { index, id, name, arguments }).await
    }

    fn start(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.first.get_or_insert_with(Instant::now);
    }

    async fn forward(&self, delta: Delta) -> Result<(), LlmError> {
        match &self.client {
            None => Ok(()),
            Some(client) => client.send(delta).await.map_err(|_| LlmError::CallerGone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_cut_at_a_character_boundary() {
        let mut sink = Sink::new(None);
        sink.push_text(&"x".repeat(ANSWER_BYTES_MAX - 1)).await.unwrap();
        assert_eq!(sink.push_text("éé").await, Err(LlmError::TooLong));
        assert_eq!(sink.text().len(), ANSWER_BYTES_MAX - 1);
    }

    #[tokio::test]
    async fn deltas_are_collected_and_forwarded() {
        let (client, mut deltas) = mpsc::channel(DELTAS_MAX);
        let mut sink = Sink::new(Some(client));
        sink.push_text("Hello ").await.unwrap();
        sink.push_text("there").await.unwrap();
        sink.push_tool_call(0, Some("1".into()), Some("clock".into()), "{".into()).await.unwrap();
        sink.push_tool_call(0, None, None, "}".into()).await.unwrap();
        assert_eq!(sink.text(), "Hello there");
        assert_eq!(sink.tool_calls()[0].arguments, "{}");
        assert_eq!(deltas.recv().await, Some(Delta::Text("Hello ".into())));
        let skipped = sink.push_tool_call(2, None, None, String::new()).await;
        assert!(matches!(skipped, Err(LlmError::Malformed { .. })));
    }

    #[tokio::test]
    async fn a_disconnected_client_ends_the_call() {
        let (client, deltas) = mpsc::channel(1);
        drop(deltas);
        let mut sink = Sink::new(Some(client));
        assert_eq!(sink.push_text("Hello").await, Err(LlmError::CallerGone));
        assert_eq!(sink.text(), "Hello", "the sink holds the text");
    }
}
