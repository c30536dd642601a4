//! Where an answer goes as it is made: collected for the log, and passed on to a caller who streams.
//!
//! Passing on waits for the caller, so a slow reader slows the model down and nothing piles up.
//! What was said until a failure stays here, whatever became of the call.

use tokio::{sync::mpsc, time::Instant};

use super::{LlmError, ToolCall};

/// Longest answer kept and returned, in bytes; a longer one is cut.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Most tools that one answer may call.
const TOOL_CALLS_MAX: usize = 128;

/// Pieces of an answer that may wait for a caller who streams; the model waits for more room.
pub const DELTAS_MAX: usize = 64;

/// A piece of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Delta {
    /// More text.
    Text(String),
    /// More of a tool call; the first piece of each names it.
    ToolCall {
        /// Which call, from 0.
        index: usize,
        /// The call's id, with its first piece.
        id: Option<String>,
        /// The tool, with its first piece.
        name: Option<String>,
        /// More of the arguments.
        arguments: String,
    },
}

/// A text must not reach a log by way of a debug print.
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

/// Takes an answer piece by piece.
#[derive(Debug)]
pub struct Sink {
    caller: Option<mpsc::Sender<Delta>>,
    text: String,
    tool_calls: Vec<ToolCall>,
    bytes: usize,
    first: Option<Instant>,
}

impl Sink {
    /// For a caller who is given the whole answer, or (with a sender) each piece as it comes.
    pub const fn new(caller: Option<mpsc::Sender<Delta>>) -> Self {
        Self { caller, text: String::new(), tool_calls: Vec::new(), bytes: 0, first: None }
    }

    /// Whether the caller wants pieces: then the provider is asked for them too.
    pub const fn is_streaming(&self) -> bool {
        self.caller.is_some()
    }

    /// Whether anything was said: after that, the call must not be tried again.
    pub const fn has_started(&self) -> bool {
        self.first.is_some()
    }

    /// When the first piece came.
    pub const fn first_delta_at(&self) -> Option<Instant> {
        self.first
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tools called so far.
    pub fn tool_calls(&self) -> &[ToolCall] {
        &self.tool_calls
    }

    /// The text and the tools called.
    pub fn into_parts(self) -> (String, Vec<ToolCall>) {
        (self.text, self.tool_calls)
    }

    /// Takes more text.
    ///
    /// # Errors
    /// [`LlmError::CallerGone`], or [`LlmError::TooLong`] once the answer is as long as it may be:
    /// what fits has been taken, and the call should end.
    pub async fn push_text(&mut self, piece: &str) -> Result<(), LlmError> {
        let room = ANSWER_BYTES_MAX - self.bytes;
        let fitting = &piece[..piece.floor_char_boundary(room)];
        if !fitting.is_empty() {
            self.start(fitting.len());
            self.text.push_str(fitting);
            self.pass(Delta::Text(fitting.to_owned())).await?;
        }
        if fitting.len() < piece.len() { Err(LlmError::TooLong) } else { Ok(()) }
    }

    /// Takes more of the tool call number `index`.
    ///
    /// # Errors
    /// As [`Self::push_text`], and [`LlmError::Malformed`] when calls do not come in order.
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
        self.pass(Delta::ToolCall { index, id, name, arguments }).await
    }

    fn start(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.first.get_or_insert_with(Instant::now);
    }

    async fn pass(&self, delta: Delta) -> Result<(), LlmError> {
        match &self.caller {
            None => Ok(()),
            Some(caller) => caller.send(delta).await.map_err(|_| LlmError::CallerGone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_cut_at_a_character() {
        let mut sink = Sink::new(None);
        sink.push_text(&"x".repeat(ANSWER_BYTES_MAX - 1)).await.unwrap();
        assert_eq!(sink.push_text("éé").await, Err(LlmError::TooLong));
        assert_eq!(sink.text().len(), ANSWER_BYTES_MAX - 1);
    }

    #[tokio::test]
    async fn pieces_are_collected_and_passed_on() {
        let (caller, mut pieces) = mpsc::channel(DELTAS_MAX);
        let mut sink = Sink::new(Some(caller));
        sink.push_text("Hello ").await.unwrap();
        sink.push_text("there").await.unwrap();
        sink.push_tool_call(0, Some("1".into()), Some("clock".into()), "{".into()).await.unwrap();
        sink.push_tool_call(0, None, None, "}".into()).await.unwrap();
        assert_eq!(sink.text(), "Hello there");
        assert_eq!(sink.tool_calls()[0].arguments, "{}");
        assert_eq!(pieces.recv().await, Some(Delta::Text("Hello ".into())));
        let skipped = sink.push_tool_call(2, None, None, String::new()).await;
        assert!(matches!(skipped, Err(LlmError::Malformed { .. })));
    }

    #[tokio::test]
    async fn a_caller_who_went_away_ends_the_call() {
        let (caller, pieces) = mpsc::channel(1);
        drop(pieces);
        let mut sink = Sink::new(Some(caller));
        assert_eq!(sink.push_text("Hello").await, Err(LlmError::CallerGone));
        assert_eq!(sink.text(), "Hello", "what was said is kept");
    }
}
