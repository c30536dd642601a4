//! Chat completions: `OpenAI` and compatible servers (vLLM, Ollama, llama.cpp, Azure).
//!
//! Deliberately not here: retries and deadlines (`upstream`), and the list of allowed models.

mod request;
mod response;

use reqwest::{
    Client, Url,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use secrecy::SecretString;

use super::{
    Dialect, LlmError, ProviderCompletion, Request, Sink, http,
    response_body::{self, ResponseBody},
    setup_error::SetupError,
};
/// The header in which Azure expects the key.
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The settings of a server of chat completions.
pub struct OpenAiSettings<'a> {
    /// The base URL; `/chat/completions` is appended.
    pub base_url: &'a str,
    /// The API key, if the server needs one.
    pub api_key: Option<&'a SecretString>,
    /// Azure's `api-version`; empty for other servers.
    pub api_version: &'a str,
    /// The request field that limits the tokens of an answer.
    pub max_tokens_field: &'static str,
}

/// A client of a server of chat completions.
#[derive(Clone)]
pub struct OpenAi {
    http: Client,
    url: Url,
    key: Option<(HeaderName, HeaderValue)>,
    max_tokens_field: &'static str,
}

impl OpenAi {
    /// Creates the client. Sends nothing.
    ///
    /// # Errors
    /// [`SetupError::Url`] or [`SetupError::Header`] with the name of the setting.
    pub fn new(http: Client, settings: &OpenAiSettings<'_>) -> Result<Self, SetupError> {
        let mut url = format!("{}/chat/completions", settings.base_url.trim_end_matches('/'));
        let is_azure = !settings.api_version.is_empty();
        if is_azure {
            url = format!("{url}?api-version={}", settings.api_version);
        }
        let url = Url::parse(&url).map_err(|_| SetupError::Url("llm.openai.base_url"))?;
        let header = |key| {
            let (name, prefix) = if is_azure { (API_KEY, "") } else { (AUTHORIZATION, "Bearer ") };
            let value = http::secret_header(prefix, key);
            Ok((name, value.ok_or(SetupError::Header("llm.openai.api_key"))?))
        };
        let key = settings.api_key.map(header).transpose()?;
        Ok(Self { http, url, key, max_tokens_field: settings.max_tokens_field })
    }

    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let body = request::body(request, self.max_tokens_field, sink.is_streaming())?;
        let mut post = self.http.post(self.url.clone()).json(&body);
        if request.extra.dialect == Some(Dialect::OpenAi) {
            post = http::pass_headers(post, &request.extra.headers);
        }
        if let Some((name, value)) = &self.key {
            post = post.header(name, value);
        }
        let response = http::send(post).await?;
        let model = request.model.as_deref().unwrap_or_default();
        match response_body::read(response, sink).await? {
            ResponseBody::Stream(events) => response::streamed(*events, model, sink).await,
            ResponseBody::Whole(body) => response::whole(&body, model, sink).await,
        }
    }
}
