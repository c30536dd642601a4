//! The HTTP client of commands that call a server.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::Value;

use super::credential::Credential;
use crate::{domain::ids::EngineId, trust};

/// Timeout of a request. Longer than any request deadline that a command needs.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of a response in bytes.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The remediation for status 401.
const UNAUTHENTICATED: &str = "log in with `mlsdm login`, give a valid token with --token, \
     MLSDM_TOKEN or MLSDM_TOKEN_FILE, or an API key with MLSDM_API_KEY; for your own server in mode dev: \
     export MLSDM_TOKEN=$(mlsdm token)";

/// The server cannot be reached: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error(
    "no response from {server}: {cause}; start it with `mlsdm serve`, or name another with --server"
)]
pub(super) struct Unreachable {
    server: String,
    cause: String,
}

/// The argument of --server is not a URL: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("--server {0} must be a URL such as https://host:8000")]
pub(super) struct InvalidServer(String);

/// An error response of the server.
#[derive(Debug, thiserror::Error)]
#[error("{code} {title}: {detail} (status {status}, request_id {request_id})")]
pub(super) struct Refused {
    status: u16,
    code: String,
    title: String,
    detail: String,
    request_id: String,
}

/// A client of one server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    credential: Option<Credential>,
}

impl Client {
    /// A client of a remote server, through a proxy if the environment names one.
    pub(super) fn remote(base: String, credential: Option<Credential>) -> anyhow::Result<Self> {
        Self::new(base, builder(), credential)
    }

    /// A client of a server on this host, whose own certificate is trusted.
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
        let http = builder.build().context("cannot build an HTTP client")?;
        Ok(Self { http, base, credential })
    }

    /// Sends a GET. Error responses become [`Refused`].
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        accepted(self.send(Method::GET, path, query, None).await?)
    }

    /// Sends a POST. Error responses become [`Refused`].
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        accepted(self.send(Method::POST, path, &[], Some(body)).await?)
    }

    /// Sends a DELETE. Error responses become [`Refused`].
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        accepted(self.send(Method::DELETE, path, &[], None).await?)
    }

    /// Sends a GET and returns the status.
    pub(super) async fn status(&self, path: &str) -> anyhow::Result<StatusCode> {
        Ok(self.text(path).await?.0)
    }

    /// Sends a GET and returns status and text.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let request = self.http.get(format!("{}{path}", self.base));
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        Ok((status, response.text().await.map_err(|error| self.failed(error))?))
    }

    /// Sends a request and returns status and JSON, also for an error status.
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
                bytes.len() + chunk.len() <= RESPONSE_BYTES_MAX,
                "the response of {} has more than {RESPONSE_BYTES_MAX} bytes",
                self.base
            );
            bytes.extend_from_slice(&chunk);
        }
        let value = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} responded with status {status} and without JSON; is it an MLSDM server?",
                self.base
            )
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

/// Validates the URL of a server and removes a trailing slash.
pub(super) fn parse_server(url: &str) -> anyhow::Result<String> {
    let valid = reqwest::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
    anyhow::ensure!(valid, InvalidServer(url.to_owned()));
    Ok(url.trim_end_matches('/').to_owned())
}

/// The path of a resource of the named engine, or of the default engine if none is named.
pub(super) fn engine_path(engine: Option<&EngineId>, rest: &str) -> String {
    engine.map_or_else(|| format!("/v1/{rest}"), |engine| format!("/v1/engines/{engine}/{rest}"))
}

fn builder() -> reqwest::ClientBuilder {
    // a redirect could send the credential to another host
    let redirects = reqwest::redirect::Policy::none();
    trust::client().redirect(redirects).timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT)
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
