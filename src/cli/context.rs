//! What every command gets.

use std::{
    io::{self, Write as _},
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

/// What a command was asked to look for and found: exit code 1.
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

    /// The configuration. Commands that ask a named server need none, so it may be unusable.
    pub(super) fn loaded(&self) -> Result<&Loaded, Arc<ConfigError>> {
        self.loaded.as_ref().map_err(Arc::clone)
    }

    /// The server that was named, else the local one: its URL without a slash at the end.
    pub(super) fn base(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.server {
            return client::remote(url);
        }
        let config = &self.loaded()?.config;
        let scheme = if config.tls.pair().is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", address(&config.api)))
    }

    /// A client of that server. What proves who calls is what was given, else the login there.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let base = self.base()?;
        let given = Credential::find(self.token.as_ref(), |name| std::env::var(name).ok())?;
        let credential = match given {
            Some(given) => Some(given),
            None => login::credential(&base).await?,
        };
        self.speak(base, credential)
    }

    /// A client of a server with this credential.
    pub(super) fn speak(
        &self,
        base: String,
        credential: Option<Credential>,
    ) -> anyhow::Result<Client> {
        if self.server.is_some() {
            return Client::remote(base, credential);
        }
        Client::local(base, tls::own::client(&self.loaded()?.config.tls)?, credential)
    }

    /// A client of where that server shows its metrics: the same host, another port, never TLS.
    pub(super) fn metrics_client(&self) -> anyhow::Result<Client> {
        let port = self.loaded()?.config.monitoring.metrics_port;
        let mut url = reqwest::Url::parse(&self.base()?)?;
        // only a URL without a host has no port, and there is none here
        url.set_port(Some(port)).ok();
        url.set_scheme("http").ok();
        self.speak(url.as_str().trim_end_matches('/').to_owned(), None)
    }

    /// Prints JSON if it is asked for, else what `people` makes of it.
    pub(super) fn print(
        &self,
        value: &Value,
        people: impl Fn(&Value) -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json { output::json(value) } else { people(value) };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }
}

/// Where a server with this configuration can be reached from here.
fn address(api: &Api) -> SocketAddr {
    let host = match api.host {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => api.host,
    };
    SocketAddr::new(host, api.port)
}
