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

/// The routes of a server for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenAiRoutes {
    /// `/chat/completions`.
    Chat,
    /// `/chat/completions` and `/responses`.
    Both,
    /// `/responses`.
    Responses,
}

/// The settings of a server of chat completions or responses.
pub struct OpenAiSettings<'a> {
    /// The provider's name.
    pub name: &'static str,
    /// The base URL; `/chat/completions` or `/responses` is appended.
    pub base_url: &'a str,
    /// The API key, if the server needs one.
    pub api_key: Option<&'a SecretString>,
    /// Azure's `api-version`; empty for other servers.
    pub api_version: &'a str,
    /// The request field that limits the tokens of an answer.
    pub max_tokens_field: LimitField,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// The routes of the server.
    pub routes: OpenAiRoutes,
    /// True if the server may store responses.
    pub may_store: bool,
}

/// A client of a server of chat completions or responses.
#[derive(Clone)]
pub struct OpenAi {
    pub(super) name: &'static str,
    http: Client,
    routes: OpenAiRoutes,
    chat: Route,
    responses: Route,
    may_store: bool,
    key: Option<(HeaderName, HeaderValue)>,
    max_tokens_field: LimitField,
    headers: HeaderMap,
}

/// A route of the server.
#[derive(Clone)]
struct Route {
    url: Url,
    dialect: Dialect,
    /// True once the route has refused to stream. Only whole answers are requested without a stream.
    refuses_streams: Arc<AtomicBool>,
}

impl OpenAi {
    /// Creates the client. Sends nothing.
    ///
    /// # Errors
    /// [`SetupError::Url`] or [`SetupError::Header`] with the name of the setting.
    pub fn new(http: Client, settings: OpenAiSettings<'_>) -> Result<Self, SetupError> {
        let is_azure = !settings.api_version.is_empty();
        let route = |route: &str, dialect| {
            let mut url = format!("{}/{route}", settings.base_url.trim_end_matches('/'));
            if is_azure {
                url = format!("{url}?api-version={}", settings.api_version);
            }
            let url = Url::parse(&url).map_err(|_| SetupError::Url("llm.openai.base_url"))?;
            Ok(Route { url, dialect, refuses_streams: Arc::default() })
        };
        let chat = route("chat/completions", Dialect::OpenAi)?;
        let responses = route("responses", Dialect::Responses)?;
        let header = |key| {
            let (name, prefix) = if is_azure { (API_KEY, "") } else { (AUTHORIZATION, "Bearer ") };
            let value = http::secret_header(prefix, key);
            Ok((name, value.ok_or(SetupError::Header("llm.openai.api_key"))?))
        };
        let key = settings.api_key.map(header).transpose()?;
        let OpenAiSettings { name, max_tokens_field, headers, routes, may_store, .. } = settings;
        Ok(Self { name, http, routes, chat, responses, may_store, key, max_tokens_field, headers })
    }

    /// The dialect in which the server gets a request of a client with this dialect.
    pub(super) fn dialect_for(&self, client: Option<Dialect>) -> Dialect {
        match self.routes {
            OpenAiRoutes::Responses => Dialect::Responses,
            OpenAiRoutes::Both if client == Some(Dialect::Responses) => Dialect::Responses,
            OpenAiRoutes::Chat | OpenAiRoutes::Both => Dialect::OpenAi,
        }
    }

    pub(crate) async fn call(
        &self,
        request: &Request,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let route = match self.dialect_for(request.extra.dialect) {
            Dialect::Responses => &self.responses,
            Dialect::OpenAi | Dialect::Anthropic => &self.chat,
        };
        let streaming = sink.is_streaming()
            || (request::can_stream(request) && !route.refuses_streams.load(Ordering::Relaxed));
        let result = self.post(route, request, streaming, sink).await;
        let refuses = match &result {
            Err(LlmError::Refused { error, .. }) if streaming && !sink.is_streaming() => {
                matches!(error.param, Some("stream" | "stream_options"))
            }
            _ => false,
        };
        if !refuses {
            return result;
        }
        route.refuses_streams.store(true, Ordering::Relaxed);
        self.post(route, request, false, sink).await
    }

    async fn post(
        &self,
        route: &Route,
        request: &Request,
        streaming: bool,
        sink: &mut Sink,
    ) -> Result<ProviderCompletion, LlmError> {
        let is_chat = route.dialect == Dialect::OpenAi;
        let (body, dropped) = if is_chat {
            request::body(request, self.max_tokens_field, streaming)?
        } else {
            responses::body(request, self.may_store, streaming)?
        };
        sink.add_dropped(&dropped);
        let response = self.send(route, request, body).await?;
        let model = request.model.as_deref().unwrap_or_default();
        match response_body::read(response, sink).await? {
            ResponseBody::Stream(events) if is_chat => {
                response::streamed(*events, model, sink).await
            }
            ResponseBody::Whole(body) if is_chat => response::whole(&body, model, sink).await,
            ResponseBody::Stream(events) => responses::streamed(*events, model, sink).await,
            ResponseBody::Whole(body) => responses::whole(&body, model, sink).await,
        }
    }

    /// Sends a body. The client's headers pass if its request has the dialect of the route. The body is
    /// not kept while the model answers.
    async fn send(
        &self,
        route: &Route,
        request: &Request,
        body: Body,
    ) -> Result<Response, LlmError> {
        let mut post = self.http.post(route.url.clone()).headers(self.headers.clone()).json(&body);
        drop(body);
        if request.extra.dialect == Some(route.dialect) {
            post = http::pass_headers(post, &request.extra.headers);
        }
        if let Some((name, value)) = &self.key {
            post = post.header(name, value);
        }
        http::send(post).await
    }
}
