//! A parser of server-sent events, as far as model APIs use them.
//!
//! It accepts the variants that servers send (CRLF, comments, unknown fields, a missing space), and
//! limits the size of a line, an event and a stream. Deliberately not here: reconnection, ids and
//! retry times, because an answer cannot be resumed.

use super::{LlmError, Sink, body_chunks::Chunks};

/// Maximum size of a stream, in sizes of an answer. A longer one is cut like a long answer. An answer of
/// the maximum size, in events of a few characters each, fits.
const STREAM_FACTOR: usize = 256;

/// One event.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The event type; empty if the event has none.
    pub(super) name: String,
    /// The data.
    pub(super) data: String,
    /// True if the stream ended before the event did: its data may be cut.
    pub(super) is_cut: bool,
}

/// The events of a response.
pub(super) struct Events {
    chunks: Chunks,
    lines: Lines,
    bytes: usize,
    /// The largest size of an event so far, which is counted in the memory of the answer.
    largest: usize,
    has_ended: bool,
}

impl Events {
    /// The events of the rest of a body.
    pub(super) fn new(chunks: Chunks) -> Self {
        let lines = Lines::new(chunks.bytes_max());
        Self { chunks, lines, bytes: 0, largest: 0, has_ended: false }
    }

    /// The next event, or `None` at the end of the stream. The last event may lack its blank line.
    ///
    /// # Errors
    /// [`LlmError::BrokenOff`] if the connection closes, [`LlmError::TooLong`],
    /// [`LlmError::Malformed`] or [`LlmError::OverMemory`] if a limit is exceeded.
    pub(super) async fn next(&mut self, sink: &mut Sink) -> Result<Option<Event>, LlmError> {
        loop {
            if let Some(event) = self.lines.next()? {
                return Ok(Some(event));
            }
            if self.has_ended {
                return Ok(None);
            }
            let Some(chunk) = self.chunks.next().await? else {
                self.has_ended = true;
                return self.lines.end();
            };
            self.bytes += chunk.len();
            if self.bytes > self.chunks.bytes_max().saturating_mul(STREAM_FACTOR) {
                return Err(LlmError::TooLong);
            }
            self.lines.push(&chunk);
            let size = self.lines.size();
            if size > self.largest {
                sink.reserve(size - self.largest)?;
                self.largest = size;
            }
        }
    }
}

/// Splits bytes into events, independent of their division into chunks.
struct Lines {
    /// Maximum size of a line and of an event, in bytes. A longer one makes the stream malformed.
    event_bytes_max: usize,
    buffer: Vec<u8>,
    /// The start of the first unread line.
    start: usize,
    /// The end of the part that contains no line break.
    scanned: usize,
    /// True if the last line ended with CR. A following LF belongs to it.
    after_cr: bool,
    name: String,
    data: Option<String>,
}

impl Lines {
    const fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            after_cr: false,
            name: String::new(),
            data: None,
        }
    }

    /// The bytes that are kept.
    fn size(&self) -> usize {
        self.buffer.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Result<Option<Event>, LlmError> {
        while let Some((from, to)) = self.line() {
            let line = std::str::from_utf8(&self.buffer[from..to])
                .map_err(|_| LlmError::Malformed { what: "the stream is not UTF-8" })?;
            if line.is_empty() {
                let name = std::mem::take(&mut self.name);
                if let Some(data) = self.data.take() {
                    return Ok(Some(Event { name, data, is_cut: false }));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "data" => match &mut self.data {
                    None => self.data = Some(value.to_owned()),
                    Some(data) if data.len() + value.len() < self.event_bytes_max => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    Some(_) => return Err(TOO_LONG),
                },
                // comments have an empty name; other fields are not used
                _ => {}
            }
        }
        let is_long = self.buffer.len() - self.start > self.event_bytes_max;
        if is_long { Err(TOO_LONG) } else { Ok(None) }
    }

    /// The event that the end of the stream ends, if there is one.
    fn end(&mut self) -> Result<Option<Event>, LlmError> {
        self.push(b"\n\n");
        Ok(self.next()?.map(|event| Event { is_cut: true, ..event }))
    }

    /// The range of the next complete line, which counts as read from then on.
    fn line(&mut self) -> Option<(usize, usize)> {
        if self.after_cr {
            let next = *self.buffer.get(self.start)?;
            self.after_cr = false;
            if next == b'\n' {
                self.start += 1;
                self.scanned = self.scanned.max(self.start);
            }
        }
        let unread = &self.buffer[self.scanned..];
        let Some(length) = unread.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let (from, to) = (self.start, self.scanned + length);
        self.after_cr = self.buffer[to] == b'\r';
        self.start = to + 1;
        self.scanned = self.start;
        Some((from, to))
    }
}

const TOO_LONG: LlmError = LlmError::Malformed { what: "an event of a stream is too long" };

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;

    /// The events of a text that arrives in chunks of `size` bytes.
    fn read(text: &str, size: usize) -> Vec<(String, String)> {
        let mut lines = Lines::new(EVENT_BYTES_MAX);
        let mut events = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            lines.push(chunk);
            while let Some(Event { name, data, .. }) = lines.next().unwrap() {
                events.push((name, data));
            }
        }
        if let Some(Event { name, data, is_cut }) = lines.end().unwrap() {
            assert!(is_cut);
            events.push((name, data));
        }
        events
    }

    #[test]
    fn events_do_not_depend_on_the_size_of_chunks() {
        for end in ["", "\n", "\n\n"] {
            let text = format!(
                ": a comment\r\nevent: one\r\ndata: naïve\r\n\r\ndata:two\ndata: lines\n\n\n\
                 event: lost\n\nid: 7\rdata: 日本\r\rdata: last{end}"
            );
            let expected = [("one", "naïve"), ("", "two\nlines"), ("", "日本"), ("", "last")];
            let expected = expected.map(|(name, data)| (name.to_owned(), data.to_owned()));
            for size in 1..=text.len() {
                let mut events = read(&text, size);
                if end == "\n\n" {
                    assert_eq!(events.len(), 4);
                }
                events.truncate(4);
                assert_eq!(events, expected, "chunks of {size} bytes");
            }
        }
    }

    #[test]
    fn the_size_of_lines_and_events_is_limited() {
        let mut endless = Lines::new(EVENT_BYTES_MAX);
        let piece = vec![b'x'; EVENT_BYTES_MAX / 2];
        endless.push(&piece);
        assert!(endless.next().unwrap().is_none());
        endless.push(&piece);
        endless.push(b"x");
        assert!(matches!(endless.next(), Err(LlmError::Malformed { .. })));

        let mut many = Lines::new(EVENT_BYTES_MAX);
        let line = format!("data: {}\n", "x".repeat(EVENT_BYTES_MAX / 2));
        many.push(line.as_bytes());
        assert!(many.next().unwrap().is_none());
        many.push(line.as_bytes());
        assert!(matches!(many.next(), Err(LlmError::Malformed { .. })));
    }

    #[test]
    fn a_stream_that_is_not_utf8_is_malformed() {
        let mut lines = Lines::new(EVENT_BYTES_MAX);
        lines.push(b"data: \xff\n\n");
        assert!(matches!(lines.next(), Err(LlmError::Malformed { .. })));
    }
}
