//! The messages of a PostgreSQL client, as far as a COMMIT is recognized in them.

/// The code of a request for TLS, to which the server answers with one byte.
const SSL_REQUEST: u32 = 80_877_103;
/// The code of a request for GSSAPI encryption, answered in the same way.
const GSS_REQUEST: u32 = 80_877_104;

/// Splits the bytes of a client into messages.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// True after the start-up message: from then on messages begin with their type.
    is_started: bool,
}

/// One message as the client sent it.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) is_commit: bool,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete message.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let length_at = usize::from(self.is_started);
        let length = self.bytes.get(length_at..length_at + 4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize + length_at;
        let content = self.bytes.get(length_at + 4..length)?;
        let is_commit = self.is_started && is_commit(self.bytes[0], content);
        if !self.is_started {
            let code = content.get(..4).and_then(|code| code.try_into().ok());
            let code = code.map_or(0, u32::from_be_bytes);
            self.is_started = code != SSL_REQUEST && code != GSS_REQUEST;
        }
        let rest = self.bytes.split_off(length);
        Some(Frame { bytes: std::mem::replace(&mut self.bytes, rest), is_commit })
    }
}

/// A COMMIT is the last statement of a simple query, or it is prepared.
fn is_commit(kind: u8, content: &[u8]) -> bool {
    let text = match kind {
        b'Q' => content,
        // the name of the statement comes before its text
        b'P' => content.splitn(2, |byte| *byte == 0).nth(1).unwrap_or_default(),
        _ => return false,
    };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let last = text.rsplit(|byte| *byte == b';').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32 + 4).to_be_bytes();
        [kind, &length, content].concat()
    }

    #[test]
    fn a_commit_is_found_in_bytes_that_arrive_one_by_one() {
        let start = message(b"", &[0, 3, 0, 0, b'u', 0]);
        let sent = [
            message(b"", &SSL_REQUEST.to_be_bytes()),
            start,
            message(b"Q", b"BEGIN\0"),
            message(b"P", b"name\0COMMIT\0\0\0"),
            message(b"Q", b"COMMIT\0"),
            message(b"Q", b"SET LOCAL statement_timeout = 0; COMMIT\0"),
        ];
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for byte in sent.concat() {
            frames.push(&[byte]);
            found.extend(frames.next());
        }
        let commits: Vec<bool> = found.iter().map(|frame| frame.is_commit).collect();
        assert_eq!(commits, [false, false, false, true, true, true]);
        let bytes: Vec<Vec<u8>> = found.into_iter().map(|frame| frame.bytes).collect();
        assert_eq!(bytes, sent);
    }
}
