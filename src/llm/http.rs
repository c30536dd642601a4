//! What all providers over HTTP have in common: the client, errors by status, bounded bodies.
//!
//! An answer that is an error is dropped unread: its text may quote the prompt. So is the text of a
//! transport error, which may name a proxy's password.

use std::time::Duration;

use reqwest::{
    Client, RequestBuilder, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use super::{LlmError, Sink, setup::SetupError};
use crate::telemetry::traces;

/// How long connecting may take, within the deadline of a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer that is not streamed, in bytes; a larger one is malformed.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest wait that a provider's `Retry-After` is taken for; a longer one counts as this.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// How requests name this program.
const USER_AGENT: &str = concat!("mlsdm/", env!("CARGO_PKG_VERSION"));

/// The client of all providers: it holds their connections. A proxy is used if the environment
/// names one. A redirect is not followed: it could take the key elsewhere.
pub(super) fn client() -> Result<Client, SetupError> {
    // whoever was first in this process has installed the same
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(USER_AGENT)
        .build()
        .map_err(SetupError::Client)
}

/// A key as the value of a header that no debug print shows.
pub(super) fn secret_header(prefix: &str, key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{prefix}{}", key.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Sends a request; what comes back is an answer, at least by its status.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, LlmError> {
    let mut headers = HeaderMap::new();
    traces::outgoing(&mut headers);
    let response = request.headers(headers).send().await.map_err(|_| LlmError::Unreachable)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(by_status(status.as_u16(), retry_after(response.headers())))
}

/// What a status other than 2xx means.
pub(super) const fn by_status(status: u16, retry_after: Option<Duration>) -> LlmError {
    match status {
        401 | 403 => LlmError::Unauthorized { status },
        429 | 529 => LlmError::Overloaded { retry_after },
        408 | 500..=599 => LlmError::Upstream { status },
        _ => LlmError::Refused { status },
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let until = |date: OffsetDateTime| {
        let now = crate::clock::now_micros() / 1_000_000;
        date.unix_timestamp().saturating_sub(now).max(0) as u64
    };
    let seconds =
        text.parse().or_else(|_| OffsetDateTime::parse(text, &Rfc2822).map(until)).ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// Whether a response is a stream of events: some servers answer whole whatever they are asked.
pub(super) fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// Reads an answer that comes whole.
pub(super) async fn json<T: DeserializeOwned>(mut response: Response) -> Result<T, LlmError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| LlmError::BrokenOff)? {
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(LlmError::Malformed { what: "the body is too large" });
        }
        bytes.extend_from_slice(&chunk);
    }
    parse(&bytes)
}

/// Reads one JSON text; the parser's own words may quote it and are dropped.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, LlmError> {
    serde_json::from_slice(text).map_err(|_| LlmError::Malformed { what: "not the JSON expected" })
}

/// What a stream that ends too early is: an answer that broke off, or none that ever began.
pub(super) const fn broken(sink: &Sink) -> LlmError {
    if sink.has_started() { LlmError::BrokenOff } else { LlmError::Unreachable }
}

/// Longest name of a model that is passed on, in characters.
const MODEL_CHARS_MAX: usize = 200;

/// A model's name as the provider reports it, which goes to the log; the one asked for without.
pub(super) fn reported(model: Option<String>, wanted: &str) -> String {
    let model = model.filter(|name| !name.is_empty() && name.chars().count() <= MODEL_CHARS_MAX);
    model.unwrap_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(value: &'static str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        retry_after(&headers)
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_bounded() {
        assert_eq!(waits("7"), Some(Duration::from_secs(7)));
        assert_eq!(waits("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(waits("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "in the past");
        assert_eq!(waits("Fri, 06 Nov 2133 08:49:37 GMT"), Some(RETRY_AFTER_MAX));
        assert_eq!((waits("soon"), waits("-1")), (None, None));
    }

    #[test]
    fn statuses_have_classes() {
        assert_eq!(by_status(403, None), LlmError::Unauthorized { status: 403 });
        let wait = Some(Duration::from_secs(1));
        assert_eq!(by_status(529, wait), LlmError::Overloaded { retry_after: wait });
        for status in [408, 500, 503] {
            assert_eq!(by_status(status, None), LlmError::Upstream { status });
        }
        for status in [302, 400, 404, 422] {
            assert_eq!(by_status(status, None), LlmError::Refused { status });
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let header = secret_header("Bearer ", &SecretString::from("geheim")).unwrap();
        assert!(!format!("{header:?}").contains("geheim"));
        assert!(secret_header("", &SecretString::from("two\nlines")).is_none());
    }
}
