//! The body of a provider's response: a stream of events or one JSON text.
//!
//! Its first character tells which. The content type does not: servers send events as JSON, as bytes,
//! or without a type.

use std::sync::Arc;

use reqwest::Response;

use super::{LlmError, Sink, activity::Activity, sse::Events};

/// The byte order mark, which servers on some systems send.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// A body whose kind is known.
pub(super) enum ResponseBody {
    /// Events.
    Stream(Box<Events>),
    /// One text.
    Whole(String),
}

/// Reads the beginning of a body, or all of it if it is not a stream.
///
/// # Errors
/// [`LlmError::BrokenOff`] if the connection closes, [`LlmError::Malformed`] if a whole body is too
/// large or not UTF-8.
pub(super) async fn read(response: Response, sink: &Sink) -> Result<ResponseBody, LlmError> {
    let mut chunks = Chunks {
        response,
        pending: None,
        bytes_max: sink.limit().saturating_mul(2).saturating_add(SLACK),
        activity: sink.activity(),
    };
    chunks.activity.touch();
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let rest = bytes.strip_prefix(BOM).unwrap_or(&bytes);
        let first = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        // a mark that has not arrived completely looks like the beginning of a word
        let is_known = bytes.len() >= BOM.len() && first.is_some();
        if is_known && !matches!(first, Some(b'{' | b'[' | b'<' | b'"')) {
            chunks.pending = Some(rest.to_vec());
            return Ok(ResponseBody::Stream(Box::new(Events::new(chunks))));
        }
        match chunks.next().await? {
            Some(chunk) if bytes.len() + chunk.len() <= chunks.bytes_max => {
                bytes.extend_from_slice(&chunk);
            }
            Some(_) => return Err(LlmError::Malformed { what: "the body is too large" }),
            None => break,
        }
    }
    let rest = bytes.strip_prefix(BOM).unwrap_or(&bytes);
    match std::str::from_utf8(rest) {
        Ok(text) => Ok(ResponseBody::Whole(text.to_owned())),
        Err(_) => Err(LlmError::Malformed { what: "the body is not UTF-8" }),
    }
}

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
