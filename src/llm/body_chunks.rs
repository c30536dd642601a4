//! The chunks of the body of a provider's response.

use std::sync::Arc;

use reqwest::Response;

use super::{LlmError, Sink, activity::Activity};

/// The size that a body may have besides twice that of an answer, whose characters may be escaped.
const SLACK: usize = 1024 * 1024;

/// The chunks of a body. Each one that arrives is activity of the provider.
pub(super) struct Chunks {
    response: Response,
    /// What was read to find out the kind of the body.
    pending: Option<Vec<u8>>,
    bytes_max: usize,
    activity: Arc<Activity>,
}

impl Chunks {
    pub(super) fn new(response: Response, sink: &Sink) -> Self {
        let bytes_max = sink.limit().saturating_mul(2).saturating_add(SLACK);
        let chunks = Self { response, pending: None, bytes_max, activity: sink.activity() };
        chunks.activity.touch();
        chunks
    }

    /// Gives bytes back, which are the next chunk then.
    pub(super) fn push_back(&mut self, bytes: Vec<u8>) {
        self.pending = Some(bytes);
    }

    /// Maximum size of a part of the body that is kept in memory, in bytes.
    pub(super) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The next chunk, or `None` at the end.
    ///
    /// # Errors
    /// [`LlmError::BrokenOff`] if the connection closes.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, LlmError> {
        if let Some(pending) = self.pending.take() {
            return Ok(Some(pending));
        }
        let chunk = self.response.chunk().await.map_err(|_| LlmError::BrokenOff)?;
        self.activity.touch();
        Ok(chunk.map(Vec::from))
    }
}
