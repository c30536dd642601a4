//! Requests to an identity provider: its metadata (`OpenID` Connect Discovery), and its keys (RFC 7517).
//!
//! Redirects are not followed, bodies are bounded, and the `jwks_uri` of the metadata needs TLS if the
//! issuer has it, so that a response cannot direct this server to another host unnoticed.

use std::time::Duration;

use openidconnect::{IssuerUrl, core::CoreProviderMetadata};
use reqwest::{Client, Url};

use crate::trust;

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a response body in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Path of the provider's metadata below its issuer URL.
const METADATA_PATH: &str = ".well-known/openid-configuration";
const USER_AGENT: &str = concat!("mlsdm/", env!("CARGO_PKG_VERSION"));

/// The HTTP client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot build an HTTP client for the identity provider: {0}")]
pub struct ClientError(#[from] reqwest::Error);

/// Why a fetch of keys failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no response; check that this host can reach auth.oidc.issuer")]
    Unreachable,
    /// An error or a redirect.
    #[error("status {0}; check that auth.oidc.issuer is the issuer URL of the provider")]
    Status(u16),
    #[error("the response is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error(
        "the response is not the JSON of an identity provider; check that auth.oidc.issuer is its \
         issuer URL"
    )]
    Malformed,
    #[error(
        "the metadata names another issuer; set auth.oidc.issuer to exactly the issuer that it names"
    )]
    Issuer,
    #[error("the metadata names a jwks_uri without TLS")]
    Insecure,
}

/// A JWKS document.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
}

/// The endpoint of the keys.
pub(in crate::auth) struct KeyEndpoint {
    http: Client,
    /// The issuer whose metadata names the endpoint; none if configuration names it.
    issuer: Option<IssuerUrl>,
    jwks: Option<Url>,
}

impl KeyEndpoint {
    /// The endpoint that the issuer's metadata names, or `jwks` if configured.
    pub(in crate::auth) fn new(issuer: IssuerUrl, jwks: Option<Url>) -> Result<Self, ClientError> {
        let http = trust::client()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
            .build()?;
        let issuer = jwks.is_none().then_some(issuer);
        Ok(Self { http, issuer, jwks })
    }

    /// Fetches the keys. After a failure the next call reads the metadata again.
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
        let url = issuer.join(METADATA_PATH).map_err(|_| FetchError::Malformed)?;
        let bytes = self.get(url).await?;
        let metadata: CoreProviderMetadata =
            serde_json::from_slice(&bytes).map_err(|_| FetchError::Malformed)?;
        if metadata.issuer() != issuer {
            return Err(FetchError::Issuer);
        }
        let jwks = metadata.jwks_uri().url().clone();
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
