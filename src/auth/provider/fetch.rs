//! What is asked of an identity provider: where its keys are, once, and the keys.
//!
//! No redirect is followed, bodies are bounded, and the address of the keys that the provider names
//! is held to the rule of its own: so that whoever answers cannot make this server ask others.

use std::time::Duration;

use openidconnect::{IssuerUrl, core::CoreProviderMetadata};
use reqwest::{Client, Url};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Where a provider describes itself, below its issuer URL.
const DESCRIPTION: &str = ".well-known/openid-configuration";
/// How requests name this program.
const USER_AGENT: &str = concat!("mlsdm/", env!("CARGO_PKG_VERSION"));

/// No HTTP client can be made.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client can be made for the identity provider: {0}")]
pub struct ClientError(#[from] reqwest::Error);

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No connection, or no whole answer in time.
    #[error("no answer; see that auth.oidc.issuer can be reached from here")]
    Unreachable,
    /// An answer that is an error, or a redirect.
    #[error("status {0}; see that auth.oidc.issuer is the provider's issuer URL")]
    Status(u16),
    /// An answer beyond the limit.
    #[error("an answer of more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// Not what a provider answers.
    #[error("not the JSON of a provider; see that auth.oidc.issuer is its issuer URL")]
    Malformed,
    /// It calls itself another name.
    #[error("the provider names another issuer; auth.oidc.issuer must be exactly what it says")]
    Issuer,
    /// Its keys are where none can be trusted.
    #[error("the provider's keys are at an address without TLS")]
    Insecure,
}

/// A JWKS document.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
}

/// Where keys are.
pub(in crate::auth) struct Place {
    http: Client,
    /// Who says where; none when configuration does.
    issuer: Option<IssuerUrl>,
    jwks: Option<Url>,
}

impl Place {
    /// The keys of an issuer, or at a place that configuration names.
    pub(in crate::auth) fn new(issuer: IssuerUrl, jwks: Option<Url>) -> Result<Self, ClientError> {
        // whoever was first in this process has installed the same
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let http = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
            .build()?;
        let issuer = jwks.is_none().then_some(issuer);
        Ok(Self { http, issuer, jwks })
    }

    /// The keys. When they are not where they were the provider is asked again, next time.
    pub(super) async fn fetch(&mut self) -> Result<Document, FetchError> {
        let jwks = match (&self.jwks, &self.issuer) {
            (Some(known), _) => known.clone(),
            (None, Some(issuer)) => self.discover(issuer).await?,
            (None, None) => return Err(FetchError::Malformed),
        };
        let fetched = self.get(jwks.clone()).await;
        let valid = fetched.and_then(|bytes| {
            super::KeySet::parse(&bytes).map(|_| Document { bytes }).ok_or(FetchError::Malformed)
        });
        if self.issuer.is_some() {
            self.jwks = valid.is_ok().then_some(jwks);
        }
        valid
    }

    async fn discover(&self, issuer: &IssuerUrl) -> Result<Url, FetchError> {
        let url = issuer.join(DESCRIPTION).map_err(|_| FetchError::Malformed)?;
        let bytes = self.get(url).await?;
        let described: CoreProviderMetadata =
            serde_json::from_slice(&bytes).map_err(|_| FetchError::Malformed)?;
        if described.issuer() != issuer {
            return Err(FetchError::Issuer);
        }
        let jwks = described.jwks_uri().url().clone();
        if jwks.scheme() != "https" && issuer.url().scheme() == "https" {
            return Err(FetchError::Insecure);
        }
        Ok(jwks)
    }

    async fn get(&self, url: Url) -> Result<Vec<u8>, FetchError> {
        let request = self.http.get(url).header("accept", "application/json");
        let mut response = request.send().await.map_err(|_| FetchError::Unreachable)?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| FetchError::Unreachable)? {
            if bytes.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}
