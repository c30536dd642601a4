//! Request ids.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::ids;

/// The header with the request id, in requests and responses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id accepted from a client, in characters.
const REQUEST_ID_MAX: usize = 128;

/// The ids of a request. `request_context` inserts them into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// The server's id of the request, a UUID version 7. The event log keeps it.
    pub id: String,
    /// The client's `X-Request-ID`, if it is valid.
    pub client_request_id: Option<String>,
    /// The trace id of the client's `traceparent` if it is valid, else a new one: 32 hexadecimal
    /// digits.
    pub trace_id: String,
}

impl RequestIds {
    /// The ids of a request with these headers.
    pub(super) fn new(headers: &HeaderMap, trace_id: String) -> Self {
        let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
        let given = given.filter(|id| is_valid(id)).map(str::to_owned);
        Self { id: ids::request_id(), client_request_id: given, trace_id }
    }

    /// The id that the client sees: its own, or the server's if it sent none.
    pub fn request_id(&self) -> &str {
        self.client_request_id.as_ref().unwrap_or(&self.id)
    }
}

fn is_valid(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn a_request_id_is_at_most_128_letters_digits_dots_dashes_and_underscores() {
        assert!(is_valid("req-1.2_A"));
        assert!(is_valid(&"x".repeat(128)));
        for bad in ["", "a b", "a\"b", "ä", "a/b", &"x".repeat(129)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
