//! `OpenAI` and compatible servers (vLLM, Ollama, llama.cpp, Azure): chat completions, and responses if the
//! server has them.
//!
//! Deliberately not here: retries and deadlines (`upstream`), and the list of allowed models.

mod request;
mod response;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use reqwest::{
    Client, Response, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::SecretString;

use super::{
    Dialect, LimitField, LlmError, ProviderCompletion, Request, Sink,
    body::Body,
    http,
    response_body::{self, ResponseBody},
    responses,
    setup_error::SetupError,
};
/// The header in which Azure expects the key.
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The settings of a server of chat completions.
pub struct OpenAiSettings<'a> {
    /// The provider's name.
    pub name: &'static str,
    /// The base URL; `/chat/completions` is appended.
    pub base_url: &'a str,
    /// The API key, if the server needs one.
    pub api_key: Option<&'a SecretString>,
    /// Azure's `api-version`; empty for other servers.
    pub api_version: &'a str,
    /// The request field that limits the tokens of an answer.
    pub max_tokens_field: LimitField,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// True if the server has the route `/responses`.
    pub has_responses: bool,
    /// True if the server may store responses.
    pub may_store: bool,
}

/// A client of a server of chat completions.
#[derive(Clone)]
pub struct OpenAi {
    pub(super) name: &'static str,
    http: Client,
    url: Url,
    /// The URL of responses, if the server has them.
    responses_url: Option<Url>,
    may_store: bool,
    key: Option<(HeaderName, HeaderValue)>,
    max_tokens_field: LimitField,
    headers: HeaderMap,
    /// True once the server has refused to stream. Only whole answers are requested without a stream.
    refuses_streams: Arc<AtomicBool>,
}

impl OpenAi {
    /// Creates the client. Sends nothing.
    ///
    /// # Errors
    /// [`SetupError::Url`] or [`SetupError::Header`] with the name of the setting.
    pub fn new(http: Client, settings: OpenAiSettings<'_>) -> Result<Self, SetupError> {
        let is_azure = !settings.api_version.is_empty();
        let url = |route: &str| {
            let mut url = format!("{}/{route}", settings.base_url.trim_end_matches('/'));
            if is_azure {
                url = format!("{url}?api-version={}", settings.api_version);
            }
            Url::parse(&url).map_err(|_| SetupError::Url("llm.openai.base_url"))
        };
        let responses_url = settings.has_responses.then(|| url("responses")).transpose()?;
        let (url, may_store) = (url("chat/completions")?, settings.may_store);
        let header = |key| {
            let (name, prefix) = if is_azure { (API_KEY, "") } else { (AUTHORIZATION, "Bearer ") };
            let value = http::secret_header(prefix, key);
            Ok((name, value.ok_or(SetupError::Header("llm.openai.api_key"))?))
        };
        let key = settings.api_key.map(header).transpose()?;
        let OpenAiSettings { name, max_tokens_field, headers, .. } = settings;
        let refuses_streams = Arc::default();
        Ok(Self {
            name,
            http,
            url,
            responses_url,
            may_store,
            key,
            max_tokens_field,
            headers,
            refuses_streams,
        })
    }

    /// True if the server has responses.
    pub(super) const fn has_responses(&self) -> bool {
        self.responses_url.is_some()
    }

    pub(super) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        match &self.responses_url {
            Some(url) if request.extra.dialect == Some(Dialect::Responses) => {
                self.respond(url, request, sink).await
            }
            _ => self.complete(request, sink).await,
        }
    }

    async fn complete(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let streaming = sink.is_streaming()
            || (request::can_stream(request) && !self.refuses_streams.load(Ordering::Relaxed));
        let result = self.post(request, streaming, sink).await;
        let refuses = match &result {
            Err(LlmError::Refused { error, .. }) if streaming && !sink.is_streaming() => {
                matches!(error.param, Some("stream" | "stream_options"))
            }
            _ => false,
        };
        if !refuses {
            return result;
        }
        self.refuses_streams.store(true, Ordering::Relaxed);
        self.post(request, false, sink).await
    }

    async fn post(
        &self,
        request: &Request,
        streaming: bool,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let (body, dropped) = request::body(request, self.max_tokens_field, streaming)?;
        sink.add_dropped(&dropped);
        let dialect = Dialect::OpenAi;
        let response = self.send(&self.url, (request, dialect), body).await?;
        let model = request.model.as_deref().unwrap_or_default();
        match response_body::read(response, sink).await? {
            ResponseBody::Stream(events) => response::streamed(*events, model, sink).await,
            ResponseBody::Whole(body) => response::whole(&body, model, sink).await,
        }
    }

    async fn respond(
        &self,
        url: &Url,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let body = responses::body(request, self.may_store, true)?;
        let response = self.send(url, (request, Dialect::Responses), body).await?;
        let model = request.model.as_deref().unwrap_or_default();
        match response_body::read(response, sink).await? {
            ResponseBody::Stream(events) => responses::streamed(*events, model, sink).await,
            ResponseBody::Whole(body) => responses::whole(&body, model, sink).await,
        }
    }

    /// Sends a body in this dialect. The client's headers pass if its request has the same dialect. The
    /// body is not kept while the model answers.
    async fn send(
        &self,
        url: &Url,
        (request, dialect): (&Request, Dialect),
        body: Body,
    ) -> Result<Response, LlmError> {
        let mut post = self.http.post(url.clone()).headers(self.headers.clone()).json(&body);
        drop(body);
        if request.extra.dialect == Some(dialect) {
            post = http::pass_headers(post, &request.extra.headers);
        }
        if let Some((name, value)) = &self.key {
            post = post.header(name, value);
        }
        http::send(post).await
    }
}
