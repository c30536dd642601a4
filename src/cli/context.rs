//! The common arguments of all commands.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use secrecy::SecretString;
use serde_json::Value;

use super::{
    client::{self, Client},
    credential::Credential,
    login, output,
};
use crate::{
    config::{Api, ConfigError, Loaded},
    tls,
};

/// Configuration and output mode.
#[derive(Debug)]
pub(super) struct Context {
    loaded: Result<Loaded, Arc<ConfigError>>,
    json: bool,
    server: Option<String>,
    token: Option<SecretString>,
}

/// A finding, such as a failed check: exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Finding(pub(super) String);

impl Context {
    pub(super) fn new(
        loaded: Result<Loaded, ConfigError>,
        json: bool,
        server: Option<String>,
        token: Option<SecretString>,
    ) -> Self {
        Self { loaded: loaded.map_err(Arc::new), json, server, token }
    }

    /// The configuration. It may be invalid: a command that calls a named server does not need it.
    pub(super) fn loaded(&self) -> Result<&Loaded, Arc<ConfigError>> {
        self.loaded.as_ref().map_err(Arc::clone)
    }

    /// The URL of the named server, else of the local one, without a trailing slash.
    pub(super) fn base(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.server {
            return client::parse_server(url);
        }
        let config = &self.loaded()?.config;
        let scheme = if config.tls.pair().is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", address(&config.api)))
    }

    /// A client of that server, with the given credential, else with the login for it.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let base = self.base()?;
        let given = Credential::find(self.token.as_ref(), |name| std::env::var(name).ok())?;
        let credential = match given {
            Some(given) => Some(given),
            None => login::credential(&base).await?,
        };
        self.client_with(base, credential)
    }

    /// A client of a server with this credential.
    pub(super) fn client_with(
        &self,
        base: String,
        credential: Option<Credential>,
    ) -> anyhow::Result<Client> {
        if self.server.is_some() {
            return Client::remote(base, credential);
        }
        Client::local(base, tls::own::client(&self.loaded()?.config.tls)?, credential)
    }

    /// A client of the metrics listener: the same host, another port, never TLS.
    pub(super) fn metrics_client(&self) -> anyhow::Result<Client> {
        let port = self.loaded()?.config.monitoring.metrics_port;
        let mut url = reqwest::Url::parse(&self.base()?)?;
        // fails only for a URL without a host, and the server has one
        url.set_port(Some(port)).ok();
        url.set_scheme("http").ok();
        self.client_with(url.as_str().trim_end_matches('/').to_owned(), None)
    }

    /// Prints JSON with `--json`, else the text of `render`.
    pub(super) fn print(
        &self,
        value: &Value,
        render: impl Fn(&Value) -> String,
    ) -> anyhow::Result<()> {
        output::print(self.json, value, render)
    }
}

/// The address at which this host can reach a server with this configuration.
fn address(api: &Api) -> SocketAddr {
    let host = match api.host {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => api.host,
    };
    SocketAddr::new(host, api.port)
}
