//! The options of an [`Authenticator`](super::Authenticator). `startup` builds them from the
//! configuration.

use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use secrecy::SecretString;

use crate::domain::{ids::EngineId, role::Roles};

/// The accepted credentials and the roles they carry.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the authentication mode, for messages and reports.
    pub mode: &'static str,
    /// The issuer of accepted tokens; none accepts no tokens.
    pub tokens: Option<TokenOptions>,
    /// API keys of configuration; none accepts no API keys at all.
    pub keys: Option<KeyOptions>,
    /// Client certificates of configuration.
    pub certificates: Vec<CertificateHolder>,
    /// Engines of the user key and of certificates; `*` for all, empty for the default engine.
    pub engines: Vec<String>,
    /// The engine of principals without an engine list.
    pub default_engine: EngineId,
    /// The roles.
    pub roles: Roles,
    /// Turns authentication off: every caller has every permission.
    pub anonymous: bool,
}

/// The issuer of accepted tokens.
#[derive(Clone, Debug)]
pub enum TokenOptions {
    /// An identity provider.
    Oidc(OidcOptions),
    /// The development key in this file, which is created if it is missing.
    Dev(PathBuf),
}

/// An identity provider.
#[derive(Clone, Debug)]
pub struct OidcOptions {
    /// The issuer URL, exactly as in the claim `iss`.
    pub issuer: String,
    /// The required value of the claim `aud`.
    pub audience: String,
    /// The URL of the provider's keys; none: the provider's metadata names it.
    pub jwks_uri: Option<String>,
    /// Accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The claim that lists roles: a name, or a path with dots.
    pub roles_claim: String,
    /// The claim that lists engines: a name, or a path with dots.
    pub engines_claim: String,
    /// Roles of a token without the roles claim.
    pub default_roles: Vec<String>,
}

/// API keys of configuration.
#[derive(Clone, Debug, Default)]
pub struct KeyOptions {
    /// The key of applications.
    pub user: Option<SecretString>,
    /// The role of that key.
    pub user_role: String,
    /// The key with the role `admin`.
    pub admin: Option<SecretString>,
}

/// A client certificate, by common or alternative name, and its roles.
#[derive(Clone, Debug)]
pub struct CertificateHolder {
    /// The common name, or an alternative name such as `spiffe://example.org/bot`.
    pub name: String,
    /// The roles.
    pub roles: Vec<String>,
}

impl Options {
    /// No authentication: every caller has every permission.
    pub fn anonymous() -> Self {
        Self {
            mode: "none",
            tokens: None,
            keys: None,
            certificates: Vec::new(),
            engines: Vec::new(),
            default_engine: EngineId::default(),
            roles: Roles::default(),
            anonymous: true,
        }
    }
}
