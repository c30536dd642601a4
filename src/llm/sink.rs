//! The receiver of an answer: collects it for the log and forwards it to a client that streams.
//!
//! The channel to the client is bounded, so that a slow client slows the model down. What is collected
//! counts in the memory of all requests ([`inflight`](crate::inflight)); when that is spent, the answer
//! is broken off. After a failure the sink still holds the part received before.

mod answer_parts;
mod delta;
mod memory;

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use super::{
    Dialect, LlmError, NativeAnswer, NativeEvent, ToolCall,
    activity::Activity,
    tool_calls::{CallPart, SentPart, ToolCalls},
};
use crate::inflight::Lease;
pub use answer_parts::AnswerParts;
pub use delta::Delta;
use memory::AnswerMemory;

/// Default of the maximum size of an answer, in bytes. A longer one is cut.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Maximum number of events before the first piece of an answer.
const OPENING_MAX: usize = 16;

const MEDIA_TOO_LONG: &str = "the media of the answer exceed limits.answer_bytes; raise it";

/// Capacity of the channel of deltas to a client. If it is full, the model waits.
pub const DELTAS_MAX: usize = 64;

/// Receives an answer delta by delta.
pub struct Sink {
    client: Option<mpsc::Sender<Delta>>,
    /// The dialect of the client.
    dialect: Option<Dialect>,
    /// Maximum size of the answer, in bytes.
    limit: usize,
    /// True if the client gets the provider's events in place of the neutral pieces.
    passes_native: bool,
    /// Events before the first piece of the answer. A retry discards them.
    opening: Vec<NativeEvent>,
    text: String,
    reasoning: String,
    calls: ToolCalls,
    native: Option<NativeAnswer>,
    dropped: Vec<String>,
    bytes: usize,
    /// Bytes of further fields, in their JSON form.
    extra: usize,
    memory: AnswerMemory,
    has_media: bool,
    first: Option<Instant>,
    activity: Arc<Activity>,
}

/// Omits the text, which must not reach a log.
impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sink({} bytes)", self.bytes)
    }
}

impl Sink {
    /// An empty sink. With a sender it forwards each delta to a client that streams.
    pub fn new(client: Option<mpsc::Sender<Delta>>) -> Self {
        Self {
            client,
            dialect: None,
            limit: ANSWER_BYTES_MAX,
            passes_native: false,
            opening: Vec::new(),
            text: String::new(),
            reasoning: String::new(),
            calls: ToolCalls::default(),
            native: None,
            bytes: 0,
            extra: 0,
            memory: AnswerMemory::default(),
            has_media: false,
            first: None,
            activity: Arc::default(),
            dropped: Vec::new(),
        }
    }

    /// Sets the dialect of the client.
    #[must_use]
    pub fn with_dialect(self, dialect: Option<Dialect>) -> Self {
        Self { dialect, ..self }
    }

    /// Sets the maximum size of the answer, in bytes.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Counts the answer in the lease of its request.
    #[must_use]
    pub fn with_lease(self, lease: Option<Arc<Lease>>) -> Self {
        Self { memory: AnswerMemory::new(lease), ..self }
    }

    /// True if the client streams.
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

    /// Maximum size of the answer, in bytes.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// The times at which the provider and the client were active.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// The text received so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The reasoning received so far.
    pub fn reasoning(&self) -> &str {
        &self.reasoning
    }

    /// The tool calls received so far.
    pub fn tool_calls(&self) -> &[ToolCall] {
        self.calls.as_slice()
    }

    /// The further fields of a tool call.
    pub(super) fn tool_call_fields(&self, index: usize) -> Option<&Map<String, Value>> {
        self.calls.extra(index)
    }

    /// True if the answer has tool calls, reasoning or media.
    pub fn has_other_parts(&self) -> bool {
        self.has_media || !self.reasoning.is_empty() || !self.tool_calls().is_empty()
    }

    /// The answer.
    pub fn into_parts(self) -> AnswerParts {
        AnswerParts {
            text: self.text,
            tool_calls: self.calls.into_vec(),
            reasoning: self.reasoning,
            native: self.native,
            dropped: self.dropped,
        }
    }

    /// Notes that a provider begins to answer in its dialect.
    ///
    /// # Errors
    /// [`LlmError::CallerGone`].
    pub(super) async fn begin(&mut self, provider: Dialect) -> Result<(), LlmError> {
        self.passes_native = self.dialect == Some(provider);
        self.opening.clear();
        self.forward(Delta::Begun).await
    }

    /// True if the client gets the provider's events.
    pub(super) const fn passes_native(&self) -> bool {
        self.passes_native && self.client.is_some()
    }

    /// Appends text.
    ///
    /// # Errors
    /// [`LlmError::CallerGone`], [`LlmError::OverMemory`], or [`LlmError::TooLong`] if the answer exceeds
    /// its limit: the part that fits was appended, and the call should end.
    pub async fn push_text(&mut self, piece: &str) -> Result<(), LlmError> {
        let fitting = self.fitting(piece);
        if !fitting.is_empty() {
            self.grow(fitting.len())?;
            self.text.push_str(fitting);
        }
        self.forward_piece(fitting, piece, Delta::Text).await
    }

    /// Appends to the reasoning.
    ///
    /// # Errors
    /// As [`Self::push_text`].
    pub async fn push_reasoning(&mut self, piece: &str) -> Result<(), LlmError> {
        let fitting = self.fitting(piece);
        if !fitting.is_empty() {
            self.grow(fitting.len())?;
            self.reasoning.push_str(fitting);
        }
        self.forward_piece(fitting, piece, Delta::Reasoning).await
    }

    /// Appends to a tool call. Returns the part that the client gets, if any.
    ///
    /// # Errors
    /// As [`Self::push_text`], and [`LlmError::Malformed`] if there are too many calls.
    pub(super) async fn push_call(&mut self, part: CallPart) -> Result<Option<SentPart>, LlmError> {
        if self.bytes + part.arguments.len() > self.limit {
            return Err(LlmError::TooLong);
        }
        self.grow(part.arguments.len())?;
        let sent = self.calls.push(part)?;
        if let Some(sent) = &sent {
            self.forward_call(sent).await?;
        }
        Ok(sent)
    }

    /// Ends the tool calls. Returns the parts that were held back until now.
    ///
    /// # Errors
    /// As [`Self::push_text`].
    pub(super) async fn end_calls(&mut self) -> Result<Vec<SentPart>, LlmError> {
        let held = self.calls.end();
        for sent in &held {
            self.forward_call(sent).await?;
        }
        Ok(held)
    }

    /// Forwards an event of the provider to a client of the same dialect. An event that is no part of
    /// the answer is held back until the answer begins.
    ///
    /// # Errors
    /// [`LlmError::CallerGone`].
    pub(super) async fn push_native(
        &mut self,
        event: NativeEvent,
        is_content: bool,
    ) -> Result<(), LlmError> {
        if is_content {
            self.start();
        }
        if !self.passes_native() {
            return Ok(());
        }
        let event = event.on_one_line();
        if !self.has_started() && self.opening.len() < OPENING_MAX {
            self.reserve(event.data.len())?;
            self.opening.push(event);
            return Ok(());
        }
        for earlier in std::mem::take(&mut self.opening) {
            self.forward(Delta::Native(earlier)).await?;
        }
        self.forward(Delta::Native(event)).await
    }

    /// Forwards the complete answer as events of its dialect, as if it had been streamed.
    ///
    /// # Errors
    /// [`LlmError::CallerGone`].
    pub(super) async fn push_native_answer(&mut self) -> Result<(), LlmError> {
        if !self.passes_native() {
            return Ok(());
        }
        let events = self.native.as_ref().map(NativeAnswer::events).unwrap_or_default();
        for event in events {
            self.push_native(event, self.has_started()).await?;
        }
        Ok(())
    }

    /// Counts bytes of the answer that are neither text nor reasoning nor arguments.
    ///
    /// # Errors
    /// [`LlmError::Malformed`] if the answer exceeds its limit: media cannot be cut. Or
    /// [`LlmError::OverMemory`].
    pub(super) fn count_media(&mut self, bytes: usize) -> Result<(), LlmError> {
        if self.bytes + bytes > self.limit {
            return Err(LlmError::Malformed { what: MEDIA_TOO_LONG });
        }
        self.has_media = true;
        self.grow(bytes)
    }

    /// Counts a further field by the bytes of its JSON form. False if the further fields exceed the limit
    /// of an answer: the field is not kept then.
    ///
    /// # Errors
    /// [`LlmError::OverMemory`].
    pub(super) fn keep_extra(&mut self, bytes: usize) -> Result<bool, LlmError> {
        let is_kept = bytes <= self.limit.saturating_sub(self.extra);
        if is_kept {
            self.memory.add_tree(bytes)?;
            self.extra += bytes;
        }
        Ok(is_kept)
    }

    /// Counts bytes that are held besides the answer until the request ends.
    ///
    /// # Errors
    /// [`LlmError::OverMemory`].
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<(), LlmError> {
        self.memory.add(bytes)
    }

    /// Names further fields of the request that were left out.
    pub(super) fn add_dropped(&mut self, names: &[&str]) {
        let new = names.iter().filter(|name| !self.dropped.iter().any(|known| known == *name));
        let new: Vec<String> = new.map(|name| (*name).to_owned()).collect();
        self.dropped.extend(new);
    }

    /// Names the fields of the request that were left out for the provider that is called next.
    pub(super) fn set_dropped(&mut self, names: Vec<String>) {
        self.dropped = names;
    }

    /// Sets the complete answer in the provider's dialect.
    pub(super) fn set_native(&mut self, native: NativeAnswer) {
        self.native = Some(native);
    }

    fn fitting<'p>(&self, piece: &'p str) -> &'p str {
        &piece[..piece.floor_char_boundary(self.limit - self.bytes)]
    }

    /// Counts bytes of the answer.
    fn grow(&mut self, bytes: usize) -> Result<(), LlmError> {
        self.memory.add_answer(bytes)?;
        self.bytes += bytes;
        self.start();
        Ok(())
    }

    fn start(&mut self) {
        self.activity.touch();
        self.first.get_or_insert_with(Instant::now);
    }

    /// Forwards the part of a piece that fits. A client of the provider's dialect gets the event
    /// instead, but not if the piece is cut.
    async fn forward_piece(
        &self,
        fitting: &str,
        piece: &str,
        delta: fn(String) -> Delta,
    ) -> Result<(), LlmError> {
        let is_cut = fitting.len() < piece.len();
        if !fitting.is_empty() && (is_cut || !self.passes_native()) {
            self.forward(delta(fitting.to_owned())).await?;
        }
        if is_cut { Err(LlmError::TooLong) } else { Ok(()) }
    }

    async fn forward_call(&self, sent: &SentPart) -> Result<(), LlmError> {
        if self.passes_native() || self.client.is_none() {
            return Ok(());
        }
        let (id, name, arguments) = (sent.id.clone(), sent.name.clone(), sent.arguments.clone());
        self.forward(Delta::ToolCall { index: sent.index, id, name, arguments }).await
    }

    async fn forward(&self, delta: Delta) -> Result<(), LlmError> {
        let Some(client) = &self.client else { return Ok(()) };
        match client.try_send(delta) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(LlmError::CallerGone),
            Err(TrySendError::Full(delta)) => {
                // a slow client is not an idle provider
                let _waiting = self.activity.wait_for_client();
                client.send(delta).await.map_err(|_| LlmError::CallerGone)
            }
        }
    }
}

#[cfg(test)]
mod tests;
