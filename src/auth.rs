//! Who is calling: from a credential to a [`Principal`], or a [`Reason`] why not.
//!
//! Tokens are those of one identity provider, or in development of this server's own key; keys are
//! API keys, of configuration and of the server's own log. What a principal may do are [`Permission`]s, which roles give; the engines that exist for
//! it are its [`EngineScope`]. Deliberately not here: HTTP; where permissions are demanded, which is
//! at the routes.

mod cache;
pub mod certificates;
mod claims;
pub mod dev;
mod follow;
mod jwks;
pub mod keys;
pub mod metrics;
mod permission;
mod principal;
pub mod provider;
mod reason;
pub mod role;
mod setup;
mod strict;
mod token;
mod tokens;

use std::sync::Arc;

pub use claims::Rules;
pub use permission::{Permission, Permissions, UnknownPermission};
pub use principal::{EngineScope, Method, Principal};
pub use reason::Reason;
pub use setup::SetupError;
pub use token::TOKEN_BYTES_MAX;

use crate::{config::AuthMode, domain::ids::Micros, tls::ClientCertificate};
use certificates::Certificates;
use keys::Keys;
use tokens::{Source, Tokens};

/// Tells the time; tests move it.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// Whole seconds since the Unix epoch.
fn now(clock: &Clock) -> i64 {
    clock().div_euclid(1_000_000)
}

/// What a caller offers to prove who they are.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// `Authorization: Bearer …`: a token, or a key.
    Bearer(&'a str),
    /// `X-API-Key: …`
    ApiKey(&'a str),
}

/// Knows who is calling.
pub struct Authenticator {
    mode: AuthMode,
    clock: Clock,
    tokens: Option<Tokens>,
    keys: Option<Keys>,
    certificates: Certificates,
    /// Who everybody is, where nobody has to say.
    anonymous: Option<Arc<Principal>>,
}

/// How an identity provider's keys are.
#[derive(Clone, Copy, Debug)]
pub struct ProviderKeys {
    /// How many there are.
    pub keys: usize,
    /// Seconds since they were fetched; none before.
    pub age_seconds: Option<i64>,
    /// Whether tokens can be verified with them.
    pub usable: bool,
}

impl Authenticator {
    /// Takes the tokens that the keys of this JWKS document verify, and nothing else.
    pub fn of_keys(rules: Rules, jwks: &[u8], clock: Clock) -> Self {
        let set = jwks::KeySet::parse(jwks).unwrap_or_default();
        let source = Source::Own(Arc::new(provider::Held::own(set)));
        let tokens = Some(Tokens::new(rules, role::Roles::new(&[]), source));
        Self {
            mode: AuthMode::Oidc,
            clock,
            tokens,
            keys: None,
            certificates: Certificates::default(),
            anonymous: None,
        }
    }

    /// Who everybody is, where nobody has to say who they are; whatever they offer is not looked at.
    pub const fn anonymous(&self) -> Option<&Arc<Principal>> {
        self.anonymous.as_ref()
    }

    /// Who offers this.
    pub async fn authenticate(&self, offered: Credential<'_>) -> Result<Arc<Principal>, Reason> {
        let now = now(&self.clock);
        let (key, token) = match offered {
            Credential::ApiKey(key) => (Some(key), None),
            Credential::Bearer(text) if self.keys.is_none() || token::is_shaped(text) => {
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

    /// Whose certificate a connection was made with, if configuration names it.
    pub fn certified(&self, certificate: &ClientCertificate) -> Option<Arc<Principal>> {
        self.certificates.find(certificate)
    }

    /// How callers prove who they are.
    pub const fn mode(&self) -> AuthMode {
        self.mode
    }

    /// The API keys, where they are taken.
    pub const fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// How the identity provider's keys are, where there is one.
    pub fn provider_keys(&self) -> Option<ProviderKeys> {
        let Source::Provider(provider) = &self.tokens.as_ref()?.source else { return None };
        let (held, now) = (provider.held(), now(&self.clock));
        Some(ProviderKeys {
            keys: held.len(),
            age_seconds: held.age(now),
            usable: held.counts(now),
        })
    }

    /// Whether somebody can be let in: not while tokens are the only way and cannot be verified.
    pub fn is_ready(&self) -> bool {
        self.keys.is_some() || self.provider_keys().is_none_or(|keys| keys.usable)
    }
}
