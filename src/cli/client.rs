//! Speaking to a server.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::Value;

use super::credential::Credential;
use crate::domain::ids::EngineId;

/// How long a server may take to answer a command; longer than any deadline of a request but the
/// largest, which no command needs.
const TIMEOUT: Duration = Duration::from_mins(1);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer that is read, in bytes; a larger one is an error.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What to do about a server that lets nobody in without a credential.
const UNAUTHENTICATED: &str = "log in with `mlsdm login`, give a valid token with --token, \
     MLSDM_TOKEN or MLSDM_TOKEN_FILE, or an API key with MLSDM_API_KEY; for a server of your own in mode dev: \
     export MLSDM_TOKEN=$(mlsdm token)";

/// A server that does not answer: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error(
    "no answer from {server}: {cause}; start it with `mlsdm serve`, or name another with --server"
)]
pub(super) struct Unreachable {
    server: String,
    cause: String,
}

/// Not the URL of a server: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("--server {0} must be a URL such as https://host:8000")]
pub(super) struct BadServer(String);

/// An error that the server answered.
#[derive(Debug, thiserror::Error)]
#[error("{code} {title}: {detail} (status {status}, request_id {request_id})")]
pub(super) struct Refused {
    status: u16,
    code: String,
    title: String,
    detail: String,
    request_id: String,
}

/// A server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    credential: Option<Credential>,
}

impl Client {
    /// A server anywhere; through a proxy if the environment names one.
    pub(super) fn remote(base: String, credential: Option<Credential>) -> anyhow::Result<Self> {
        Self::new(base, builder(), credential)
    }

    /// A server on this host, by its own certificate if it has one.
    pub(super) fn local(
        base: String,
        tls: Option<ClientConfig>,
        credential: Option<Credential>,
    ) -> anyhow::Result<Self> {
        let builder = builder().no_proxy();
        let builder = match tls {
            Some(tls) => builder.use_preconfigured_tls(tls),
            None => builder,
        };
        Self::new(base, builder, credential)
    }

    fn new(
        base: String,
        builder: reqwest::ClientBuilder,
        credential: Option<Credential>,
    ) -> anyhow::Result<Self> {
        let http = builder.build().context("cannot make an HTTP client")?;
        Ok(Self { http, base, credential })
    }

    /// The answer to a GET; errors of the server are [`Refused`].
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        accepted(self.send(Method::GET, path, query, None).await?)
    }

    /// The answer to a POST; errors of the server are [`Refused`].
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        accepted(self.send(Method::POST, path, &[], Some(body)).await?)
    }

    /// The answer to a DELETE; errors of the server are [`Refused`].
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        accepted(self.send(Method::DELETE, path, &[], None).await?)
    }

    /// The status of a GET, whatever the body.
    pub(super) async fn status(&self, path: &str) -> anyhow::Result<StatusCode> {
        Ok(self.text(path).await?.0)
    }

    /// Status and body of a page that is no JSON.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let request = self.http.get(format!("{}{path}", self.base));
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        Ok((status, response.text().await.map_err(|error| self.failed(error))?))
    }

    /// Status and body, whatever the status.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).query(query);
        if let Some(credential) = &self.credential {
            request = credential.on(request);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            anyhow::ensure!(
                bytes.len() + chunk.len() <= ANSWER_BYTES_MAX,
                "the answer of {} has more than {ANSWER_BYTES_MAX} bytes",
                self.base
            );
            bytes.extend_from_slice(&chunk);
        }
        let value = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} answered {status} without JSON; is it an MLSDM server?", self.base)
        })?;
        Ok((status, value))
    }

    fn failed(&self, error: reqwest::Error) -> anyhow::Error {
        let error = error.without_url();
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let cause = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Unreachable { server: self.base.clone(), cause }.into()
    }
}

/// The URL of a server that somebody named, without a slash at the end.
pub(super) fn remote(url: &str) -> anyhow::Result<String> {
    let valid = reqwest::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
    anyhow::ensure!(valid, BadServer(url.to_owned()));
    Ok(url.trim_end_matches('/').to_owned())
}

/// A path of an engine's, or of the default engine.
pub(super) fn engine_path(engine: Option<&EngineId>, rest: &str) -> String {
    engine.map_or_else(|| format!("/v1/{rest}"), |engine| format!("/v1/engines/{engine}/{rest}"))
}

fn builder() -> reqwest::ClientBuilder {
    // a redirect could take the credential elsewhere
    let redirects = reqwest::redirect::Policy::none();
    reqwest::Client::builder().redirect(redirects).timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT)
}

fn accepted((status, body): (StatusCode, Value)) -> anyhow::Result<Value> {
    if status.is_success() {
        return Ok(body);
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    Err(Refused {
        status: status.as_u16(),
        code: text("code"),
        title: text("title"),
        detail: if status == StatusCode::UNAUTHORIZED {
            UNAUTHENTICATED.to_owned()
        } else {
            text("detail")
        },
        request_id: text("request_id"),
    }
    .into())
}
