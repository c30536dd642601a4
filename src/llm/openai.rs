//! Chat completions: `OpenAI` and everything that speaks like it (vLLM, Ollama, llama.cpp, Azure).
//!
//! Deliberately not here: retries and deadlines (`upstream`), and which model may be asked.

mod request;
mod response;

use reqwest::{
    Client, Url,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};

use super::{LlmError, ProviderCompletion, Request, Sink, http, setup::SetupError, sse::Events};
use crate::config;

/// Where Azure wants the key.
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// A server of chat completions.
#[derive(Clone)]
pub struct OpenAi {
    http: Client,
    url: Url,
    key: Option<(HeaderName, HeaderValue)>,
    max_tokens_field: &'static str,
}

impl OpenAi {
    /// A server; nothing is sent yet.
    pub(super) fn new(http: Client, config: &config::OpenAi) -> Result<Self, SetupError> {
        let mut url = format!("{}/chat/completions", config.base_url.trim_end_matches('/'));
        let azure = !config.api_version.is_empty();
        if azure {
            url = format!("{url}?api-version={}", config.api_version);
        }
        let url = Url::parse(&url).map_err(|_| SetupError::Url("llm.openai.base_url"))?;
        let header = |key| {
            let (name, prefix) = if azure { (API_KEY, "") } else { (AUTHORIZATION, "Bearer ") };
            let value = http::secret_header(prefix, key);
            Ok((name, value.ok_or(SetupError::Header("llm.openai.api_key"))?))
        };
        let key = config.key().map(header).transpose()?;
        let max_tokens_field = config.max_tokens_field.as_str();
        Ok(Self { http, url, key, max_tokens_field })
    }

    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let body = request::body(request, self.max_tokens_field, sink.is_streaming())?;
        let mut post = self.http.post(self.url.clone()).json(&body);
        if let Some((name, value)) = &self.key {
            post = post.header(name, value);
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
