//! Authentication: turns a credential into a [`Principal`], or a [`Reason`] for its rejection.
//!
//! Tokens are signed by one identity provider or, in development, by this server's own key. API keys
//! come from configuration and from the system log. Roles grant a principal its [`Permission`]s;
//! its [`EngineScope`] is the set of engines it can access. Deliberately not here: HTTP, and the
//! permissions that routes require.

mod cache;
mod certificates;
mod claims;
mod clock;
pub mod dev;
mod follow;
mod json_unique_keys;
mod jwks;
pub mod keys;
pub mod metrics;
mod options;
mod principal;
pub mod provider;
mod reason;
mod setup;
mod token;
mod tokens;

use std::sync::Arc;

pub use claims::Rules;
pub use clock::Clock;
pub use options::{CertificateHolder, KeyOptions, OidcOptions, Options, TokenOptions};
pub use principal::{EngineScope, Method, Principal};
pub use reason::Reason;
pub use setup::SetupError;
pub use token::TOKEN_BYTES_MAX;

pub use crate::domain::{
    permission::{Permission, Permissions, UnknownPermission},
    role,
};
use crate::tls::ClientCertificate;
use certificates::Certificates;
use clock::now;
use keys::Keys;
use tokens::{KeySource, Tokens};

/// A credential that a caller presents.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// `Authorization: Bearer …`: a token or an API key.
    Bearer(&'a str),
    /// `X-API-Key: …`
    ApiKey(&'a str),
}

/// Authenticates callers.
pub struct Authenticator {
    mode: &'static str,
    clock: Clock,
    tokens: Option<Tokens>,
    keys: Option<Keys>,
    certificates: Certificates,
    /// The principal of every caller when authentication is off.
    anonymous: Option<Arc<Principal>>,
}

/// The state of the identity provider's keys.
#[derive(Clone, Copy, Debug)]
pub struct ProviderKeys {
    /// Number of keys.
    pub keys: usize,
    /// Seconds since the last successful fetch; none before the first.
    pub age_seconds: Option<i64>,
    /// True while tokens can be verified with these keys.
    pub usable: bool,
}

impl Authenticator {
    /// Accepts only tokens that the keys of this JWKS document verify.
    pub fn with_jwks(rules: Rules, jwks: &[u8], clock: Clock) -> Self {
        let set = jwks::KeySet::parse(jwks).unwrap_or_default();
        let source = KeySource::Own(Arc::new(provider::CachedKeys::permanent(set)));
        Self {
            mode: "oidc",
            clock,
            tokens: Some(Tokens::new(rules, role::Roles::default(), source)),
            keys: None,
            certificates: Certificates::default(),
            anonymous: None,
        }
    }

    /// The principal of every caller when authentication is off; credentials are then ignored.
    pub const fn anonymous(&self) -> Option<&Arc<Principal>> {
        self.anonymous.as_ref()
    }

    /// Authenticates a credential.
    pub async fn authenticate(&self, credential: Credential<'_>) -> Result<Arc<Principal>, Reason> {
        let now = now(&self.clock);
        let (key, token) = match credential {
            Credential::ApiKey(key) => (Some(key), None),
            Credential::Bearer(text) if self.keys.is_none() || token::is_jwt_shaped(text) => {
                (None, Some(text))
            }
            Credential::Bearer(text) => (Some(text), None),
        };
        match (key, token, &self.keys, &self.tokens) {
            (Some(key), _, Some(keys), _) => keys.find(key, now),
            (_, Some(token), _, Some(tokens)) => tokens.verify(token, now).await,
            _ => Err(Reason::NotAccepted),
        }
    }

    /// The principal of a verified client certificate, if configuration names it.
    pub fn by_certificate(&self, certificate: &ClientCertificate) -> Option<Arc<Principal>> {
        self.certificates.find(certificate)
    }

    /// The name of the authentication mode, for messages and reports.
    pub const fn mode(&self) -> &'static str {
        self.mode
    }

    /// The API keys, if they are accepted.
    pub const fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// The state of the identity provider's keys, if there is a provider.
    pub fn provider_keys(&self) -> Option<ProviderKeys> {
        let KeySource::Provider(provider) = &self.tokens.as_ref()?.source else { return None };
        let (cached, now) = (provider.cached(), now(&self.clock));
        Some(ProviderKeys {
            keys: cached.len(),
            age_seconds: cached.age(now),
            usable: cached.is_valid(now),
        })
    }

    /// Returns true if some credential can be accepted: false while only tokens are accepted and the
    /// provider's keys are missing or too old.
    pub fn is_ready(&self) -> bool {
        self.keys.is_some() || self.provider_keys().is_none_or(|keys| keys.usable)
    }
}
