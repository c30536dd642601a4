//! Anthropic's messages.
//!
//! Requests of chat completions are translated as far as they are texts and a few plain wishes; what
//! else they say is refused, not dropped. Deliberately not here: retries and deadlines (`upstream`).

mod request;
mod response;

use reqwest::{Client, Url, header::HeaderValue};

use super::{LlmError, ProviderCompletion, Request, Sink, http, setup::SetupError, sse::Events};
use crate::config;

/// A server of messages.
#[derive(Clone)]
pub struct Anthropic {
    http: Client,
    url: Url,
    key: Option<HeaderValue>,
    version: HeaderValue,
}

impl Anthropic {
    /// A server; nothing is sent yet. A final `/v1` of its address may be left out.
    pub(super) fn new(http: Client, config: &config::Anthropic) -> Result<Self, SetupError> {
        let base = config.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let url = Url::parse(&format!("{base}/v1/messages"))
            .map_err(|_| SetupError::Url("llm.anthropic.base_url"))?;
        let header =
            |key| http::secret_header("", key).ok_or(SetupError::Header("llm.anthropic.api_key"));
        let key = config.key().map(header).transpose()?;
        let version = HeaderValue::from_str(&config.version)
            .map_err(|_| SetupError::Header("llm.anthropic.version"))?;
        Ok(Self { http, url, key, version })
    }

    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let body = request::body(request, sink.is_streaming())?;
        let mut post =
            self.http.post(self.url.clone()).header("anthropic-version", &self.version).json(&body);
        if let Some(key) = &self.key {
            post = post.header("x-api-key", key);
        }
        let response = http::send(post).await?;
        let model = request.model.as_deref().unwrap_or_default();
        if http::is_stream(&response) {
            response::streamed(Events::new(response), model, sink).await
        } else {
            response::whole(http::json(response).await?, model, sink).await
        }
    }
}
