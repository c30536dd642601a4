//! HTTP for all providers: the client, errors by status, size limits.
//!
//! Of the body of an error response only a code is kept because its text may quote the prompt. The text
//! of a transport error is dropped because it may contain a proxy's password.

use std::{error::Error, io, str::FromStr as _, time::Duration};

use reqwest::{
    Client, RequestBuilder, Response,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::time::timeout;

use super::{LlmError, Sink, error::UnreachableCause, provider_error, setup_error::SetupError};
use crate::{telemetry::traces, trust};

/// Timeout of a connection attempt, within the deadline of a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of the part of an error response that is read, in bytes.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Maximum time to read the body of an error response. The status is known before.
const ERROR_BODY_MAX: Duration = Duration::from_secs(2);

/// Maximum `Retry-After` of a provider. A longer one counts as this.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// The value of the header `User-Agent`.
const USER_AGENT: &str = concat!("mlsdm/", env!("CARGO_PKG_VERSION"));

/// Creates the HTTP client that all providers share, with its connection pool. It uses a proxy if the
/// environment names one. It does not follow redirects, which could send the key to another host.
///
/// # Errors
/// [`SetupError::Client`].
pub fn http_client() -> Result<Client, SetupError> {
    trust::client()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(USER_AGENT)
        .build()
        .map_err(SetupError::Client)
}

/// A key as a header value that is marked as sensitive, so that its debug form hides it.
pub(super) fn secret_header(prefix: &str, key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{prefix}{}", key.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Adds headers of the client. One that cannot be sent is left out.
pub(super) fn pass_headers(
    mut request: RequestBuilder,
    headers: &[(String, String)],
) -> RequestBuilder {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
            request = request.header(name, value);
        }
    }
    request
}

/// Sends a request and returns the response if its status is 2xx.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, LlmError> {
    let mut headers = HeaderMap::new();
    traces::inject(&mut headers);
    // compression delays the events of a stream; an answer that is compressed nevertheless is read
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let sent = request.headers(headers).send().await;
    let response = sent.map_err(|error| LlmError::Unreachable { cause: cause(&error) })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let (status, wait) = (status.as_u16(), retry_after(response.headers()));
    let body = timeout(ERROR_BODY_MAX, error_body(response)).await.unwrap_or_default();
    Err(LlmError::of_status(status, wait, provider_error::parse(status, &body)))
}

/// The body of an error response. One that is too large or breaks off is empty.
async fn error_body(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if bytes.len() + chunk.len() > ERROR_BYTES_MAX {
            return Vec::new();
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// Why a request could not be sent. The errors of the client have no type for most causes.
fn cause(error: &reqwest::Error) -> UnreachableCause {
    let mut next = error.source();
    while let Some(error) = next {
        if is_tls(error) {
            return UnreachableCause::Tls;
        }
        let text = error.to_string();
        if text.starts_with("dns error") {
            return UnreachableCause::Dns;
        }
        if text.starts_with("tunnel error") {
            return UnreachableCause::Proxy;
        }
        next = error.source();
    }
    if error.is_connect() { UnreachableCause::Connect } else { UnreachableCause::Reset }
}

/// True for an error of TLS. The client wraps it into errors of I/O, whose source leaves out the error
/// that they wrap.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn Error + 'static));
    }
    false
}

/// The value of `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
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

/// The error of a stream that ends early: it depends on whether the answer had begun.
pub(super) const fn early_end(sink: &Sink) -> LlmError {
    if sink.has_started() {
        LlmError::BrokenOff
    } else {
        LlmError::Unreachable { cause: UnreachableCause::Reset }
    }
}

/// Maximum length of a model's name in the log, in characters.
const MODEL_CHARS_MAX: usize = 200;

/// The model's name as the provider reports it, or the requested name.
pub(super) fn reported_model(model: Option<String>, requested: &str) -> String {
    let model = model.filter(|name| !name.is_empty() && name.chars().count() <= MODEL_CHARS_MAX);
    model.unwrap_or_else(|| requested.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(value: &'static str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_limited() {
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "in the past");
        assert_eq!(wait("Fri, 06 Nov 2133 08:49:37 GMT"), Some(RETRY_AFTER_MAX));
        assert_eq!((wait("soon"), wait("-1")), (None, None));
    }

    #[test]
    fn the_debug_form_of_a_header_hides_the_key() {
        let header = secret_header("Bearer ", &SecretString::from("geheim")).unwrap();
        assert!(!format!("{header:?}").contains("geheim"));
        assert!(secret_header("", &SecretString::from("two\nlines")).is_none());
    }
}
