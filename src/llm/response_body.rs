//! The body of a provider's response: a stream of events or one JSON text.
//!
//! Its first character tells which. The content type does not: servers send events as JSON, as bytes,
//! or without a type.

use reqwest::Response;

use super::{LlmError, Sink, body_chunks::Chunks, sse::Events};

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
/// large or not UTF-8, [`LlmError::OverMemory`] if it takes too much of the memory of all requests.
pub(super) async fn read(response: Response, sink: &mut Sink) -> Result<ResponseBody, LlmError> {
    let mut chunks = Chunks::new(response, sink);
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let rest = bytes.strip_prefix(BOM).unwrap_or(&bytes);
        let first = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        // a mark that has not arrived completely looks like the beginning of a word
        let is_known = bytes.len() >= BOM.len() && first.is_some();
        if is_known && !matches!(first, Some(b'{' | b'[' | b'<' | b'"')) {
            chunks.push_back(rest.to_vec());
            return Ok(ResponseBody::Stream(Box::new(Events::new(chunks))));
        }
        match chunks.next().await? {
            Some(chunk) if bytes.len() + chunk.len() <= chunks.bytes_max() => {
                sink.reserve(chunk.len())?;
                bytes.extend_from_slice(&chunk);
            }
            Some(_) => return Err(LlmError::Malformed { what: "the body is too large" }),
            None => break,
        }
    }
    if bytes.starts_with(BOM) {
        bytes.drain(..BOM.len());
    }
    let text = String::from_utf8(bytes);
    text.map(ResponseBody::Whole).map_err(|_| LlmError::Malformed { what: "the body is not UTF-8" })
}
