//! Anthropic's messages API.
//!
//! Deliberately not here: requests of other dialects (`translate`), retries and deadlines (`upstream`).

mod request;
mod response;

use reqwest::{
    Client, Url,
    header::{HeaderMap, HeaderValue},
};
use secrecy::SecretString;

pub(super) use request::sampling;

use super::{
    Dialect, LlmError, ProviderCompletion, Request, Sink, http,
    response_body::{self, ResponseBody},
    setup_error::SetupError,
};
/// The header with the version of the API.
const VERSION: &str = "anthropic-version";

/// The settings of a server of messages.
pub struct AnthropicSettings<'a> {
    /// The provider's name.
    pub name: &'static str,
    /// The base URL, with or without a final `/v1`; `/v1/messages` is appended.
    pub base_url: &'a str,
    /// The API key, if the server needs one.
    pub api_key: Option<&'a SecretString>,
    /// The value of the header `anthropic-version`, a date.
    pub version: &'a str,
    /// Headers of every request.
    pub headers: HeaderMap,
}

/// A client of a server of messages.
#[derive(Clone)]
pub struct Anthropic {
    pub(super) name: &'static str,
    http: Client,
    url: Url,
    key: Option<HeaderValue>,
    version: HeaderValue,
    headers: HeaderMap,
}

impl Anthropic {
    /// Creates the client. Sends nothing.
    ///
    /// # Errors
    /// [`SetupError::Url`] or [`SetupError::Header`] with the name of the setting.
    pub fn new(http: Client, settings: AnthropicSettings<'_>) -> Result<Self, SetupError> {
        let base = settings.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let url = Url::parse(&format!("{base}/v1/messages"))
            .map_err(|_| SetupError::Url("llm.anthropic.base_url"))?;
        let header =
            |key| http::secret_header("", key).ok_or(SetupError::Header("llm.anthropic.api_key"));
        let key = settings.api_key.map(header).transpose()?;
        let version = HeaderValue::from_str(settings.version)
            .map_err(|_| SetupError::Header("llm.anthropic.version"))?;
        let AnthropicSettings { name, headers, .. } = settings;
        Ok(Self { name, http, url, key, version, headers })
    }

    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let (body, dropped) = request::body(request, true)?;
        sink.add_dropped(&dropped);
        let mut post = self.http.post(self.url.clone()).headers(self.headers.clone()).json(&body);
        drop(body);
        let same_dialect = request.extra.dialect == Some(Dialect::Anthropic);
        let passed: &[_] = if same_dialect { &request.extra.headers } else { &[] };
        // the client's version of the API is the one of its body
        if !passed.iter().any(|(name, _)| name == VERSION) {
            post = post.header(VERSION, &self.version);
        }
        post = http::pass_headers(post, passed);
        if let Some(key) = &self.key {
            post = post.header("x-api-key", key);
        }
        let response = http::send(post).await?;
        let model = request.model.as_deref().unwrap_or_default();
        match response_body::read(response, sink).await? {
            ResponseBody::Stream(events) => response::streamed(*events, model, sink).await,
            ResponseBody::Whole(body) => response::whole(&body, model, sink).await,
        }
    }
}
