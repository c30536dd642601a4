//! An HTTP client for servers under test.
#![expect(clippy::unwrap_used, reason = "test support: a panic is the report")]

use std::sync::OnceLock;

use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::Value;

use super::DEADLINE;

/// A client with the settings of [`http_client_builder`].
pub fn http_client() -> reqwest::Client {
    http_client_builder().build().unwrap()
}

/// A builder of clients that use no proxy and give up after [`DEADLINE`].
pub fn http_client_builder() -> reqwest::ClientBuilder {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    });
    reqwest::Client::builder().no_proxy().timeout(DEADLINE)
}

/// A complete response, whatever its status.
#[derive(Debug)]
pub struct TestResponse {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON, or as a string if it is not JSON.
    pub body: Value,
}

impl TestResponse {
    /// The text of a header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body of a successful response.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// Asserts that the response is a problem document with this status and error code.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        let found = (self.status, self.body["code"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert_eq!(self.body["request_id"], self.header("x-request-id"), "{self:?}");
        for field in ["type", "title", "detail", "trace_id"] {
            assert!(self.body[field].is_string(), "{field}: {self:?}");
        }
        assert_eq!(status == 503, !self.header("retry-after").is_empty(), "{self:?}");
    }
}

/// Sends a request. An error means that no complete response arrived.
pub async fn send(request: RequestBuilder) -> Result<TestResponse, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await?;
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
    Ok(TestResponse { status, headers, body })
}
