//! `auth`: how callers authenticate, and the roles they get.

mod entries;

use std::net::IpAddr;

use jsonwebtoken::Algorithm;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IntoDeserializer as _},
};

use super::error::{Fault, check};
use crate::domain::role::Roles;
pub use entries::{CertificateEntry, RoleEntry};

/// Minimum and maximum length of an API key in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 12..=512;

/// Algorithms that may be configured: those with a public key.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The authentication mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Tokens of an identity provider.
    Oidc,
    /// API keys.
    Keys,
    /// Tokens of an identity provider, or API keys.
    #[serde(rename = "oidc+keys", alias = "both")]
    OidcAndKeys,
    /// Tokens signed with this server's own development key.
    Dev,
    /// No authentication: every caller has every permission.
    None,
}

impl AuthMode {
    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::Keys => "keys",
            Self::OidcAndKeys => "oidc+keys",
            Self::Dev => "dev",
            Self::None => "none",
        }
    }
}

/// Authentication and roles.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    #[serde(deserialize_with = "optional_mode")]
    mode: Option<AuthMode>,
    /// Allows the modes `dev` and `none` on an address that other hosts can reach.
    pub insecure: bool,
    /// Additional roles, and permissions added to built-in ones.
    pub roles: Vec<RoleEntry>,
    /// The role of the key `keys.user`.
    pub api_key_role: String,
    /// Refuses steps without an end user by callers that may name one.
    pub require_end_user: bool,
    /// The identity provider.
    pub oidc: Oidc,
    /// API keys.
    pub keys: ApiKeys,
    /// Client certificates and their roles.
    pub certificates: Vec<CertificateEntry>,
}

/// An identity provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    enabled: bool,
    /// The issuer URL, exactly as in the claim `iss`.
    pub issuer: String,
    /// The required value of the claim `aud`.
    pub audience: String,
    jwks_uri: String,
    /// The claim that lists roles.
    pub roles_claim: String,
    /// The claim that lists engines.
    pub engines_claim: String,
    /// Roles of a token without the roles claim.
    pub default_roles: Vec<String>,
    /// Accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    client_id: String,
    /// Scopes that `mlsdm login` requests in addition to `openid`.
    pub scopes: Vec<String>,
}

/// API keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    user: SecretString,
    admin: SecretString,
    /// The engines that the user key can access.
    pub engines: Vec<String>,
}

/// Reads an empty text as "not set".
fn optional_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AuthMode>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let mode: Result<_, serde::de::value::Error> =
        AuthMode::deserialize(text.as_str().into_deserializer());
    mode.map(Some).map_err(D::Error::custom)
}

fn given(secret: &SecretString) -> Option<&SecretString> {
    Some(secret).filter(|secret| !secret.expose_secret().is_empty())
}

impl Oidc {
    const fn is_on(&self) -> bool {
        self.enabled && !self.issuer.is_empty()
    }

    /// The URL of the provider's keys. None: the provider's metadata names it.
    pub fn jwks_uri(&self) -> Option<&str> {
        Some(self.jwks_uri.as_str()).filter(|uri| !uri.is_empty())
    }

    /// The client id of `mlsdm login`. None: nobody can log in.
    pub fn client_id(&self) -> Option<&str> {
        Some(self.client_id.as_str()).filter(|id| !id.is_empty())
    }

    fn validate(&self, roles: &Roles) -> Result<(), Fault> {
        let url = "an https URL (http only for a loopback address)";
        check(is_secure(&self.issuer), "auth.oidc.issuer", url)?;
        check(self.jwks_uri().is_none_or(is_secure), "auth.oidc.jwks_uri", url)?;
        let must = "set (MLSDM_OIDC_AUDIENCE) to the audience of the tokens that the provider \
                    issues for this server";
        check(!self.audience.is_empty(), "auth.oidc.audience", must)?;
        let claims = [
            (&self.roles_claim, "auth.oidc.roles_claim"),
            (&self.engines_claim, "auth.oidc.engines_claim"),
        ];
        for (claim, key) in claims {
            let is_closed = claim.matches('"').count() % 2 == 0;
            check(!claim.is_empty() && is_closed, key, "the name of a claim, with closed quotes")?;
        }
        let known = self.default_roles.iter().all(|role| roles.has(role));
        let must = "a list of roles, built-in or from auth.roles";
        check(known, "auth.oidc.default_roles", must)?;
        let valid = !self.algorithms.is_empty()
            && self.algorithms.iter().all(|algorithm| ALGORITHMS.contains(algorithm));
        let must = "a list of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA \
                    (HS256, HS384 and HS512 need a shared secret, and a provider's keys are public)";
        check(valid, "auth.oidc.algorithms", must)
    }
}

/// Returns true for a URL that is reached over TLS or does not leave this machine.
fn is_secure(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && local)
}

impl ApiKeys {
    /// The API key with the role `auth.api_key_role`.
    pub fn user(&self) -> Option<&SecretString> {
        given(&self.user)
    }

    /// The API key with the role `admin`.
    pub fn admin(&self) -> Option<&SecretString> {
        given(&self.admin)
    }

    fn is_on(&self) -> bool {
        self.user().is_some() || self.admin().is_some()
    }

    fn validate(&self) -> Result<(), Fault> {
        let must = "12 to 512 printable ASCII characters without spaces; \
                    generate one with `openssl rand -hex 32`";
        let valid = |key: &SecretString| {
            let key = key.expose_secret();
            KEY_BYTES.contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
        };
        check(self.user().is_none_or(valid), "auth.keys.user", must)?;
        check(self.admin().is_none_or(valid), "auth.keys.admin", must)?;
        let both = self.user().zip(self.admin());
        let differ = both.is_none_or(|(user, admin)| user.expose_secret() != admin.expose_secret());
        check(differ, "auth.keys.admin", "another key than auth.keys.user")
    }
}

impl Auth {
    /// The mode on this address: the configured one, else the one that fits the other settings, else
    /// `dev` on a loopback address.
    pub fn mode(&self, host: IpAddr) -> AuthMode {
        self.effective_mode(host).unwrap_or(AuthMode::Dev)
    }

    /// The built-in roles and those of `auth.roles`.
    pub fn known_roles(&self) -> Roles {
        Roles::extended(self.roles.iter().map(|entry| (entry.name.as_str(), entry.permissions)))
    }

    fn effective_mode(&self, host: IpAddr) -> Option<AuthMode> {
        let implied = match (self.oidc.is_on(), self.has_keys_or_certificates()) {
            (true, true) => Some(AuthMode::OidcAndKeys),
            (true, false) => Some(AuthMode::Oidc),
            (false, true) => Some(AuthMode::Keys),
            (false, false) => host.is_loopback().then_some(AuthMode::Dev),
        };
        self.mode.or(implied)
    }

    pub(super) fn validate(&self, host: IpAddr) -> Result<(), Fault> {
        let must = "set on an address that other hosts can reach: `oidc` (with MLSDM_OIDC_ISSUER and \
                    MLSDM_OIDC_AUDIENCE), `keys` (with API_KEY or ADMIN_API_KEY), `oidc+keys`, or \
                    `none` with MLSDM_INSECURE=1; or set api.host to a loopback address";
        let Some(mode) = self.effective_mode(host) else { return check(false, "auth.mode", must) };
        let oidc = matches!(mode, AuthMode::Oidc | AuthMode::OidcAndKeys);
        let keys = matches!(mode, AuthMode::Keys | AuthMode::OidcAndKeys);
        let must = "`oidc` or `oidc+keys`, since auth.oidc.issuer is set; or set \
                    MLSDM_OIDC_ENABLED=false";
        check(oidc || !self.oidc.is_on(), "auth.mode", must)?;
        let must = "`keys` or `oidc+keys`, since API_KEY or ADMIN_API_KEY is set; or remove them";
        check(keys || !self.keys.is_on(), "auth.mode", must)?;
        if oidc {
            let must = "set (MLSDM_OIDC_ISSUER), with auth.oidc.enabled = true, in this auth.mode";
            check(self.oidc.is_on(), "auth.oidc.issuer", must)?;
            self.oidc.validate(&self.known_roles())?;
        }
        if mode == AuthMode::Keys {
            // with `oidc+keys`, a caller with a token can create the first key
            let must = "set (API_KEY), or auth.keys.admin (ADMIN_API_KEY), in auth.mode `keys`";
            check(self.has_keys_or_certificates(), "auth.keys.user", must)?;
        }
        if keys {
            self.keys.validate()?;
            let must = "a role, built-in or from auth.roles";
            check(self.known_roles().has(&self.api_key_role), "auth.api_key_role", must)?;
        }
        self.validate_certificates(oidc || keys)?;
        let closed = oidc || keys || host.is_loopback() || self.insecure;
        let must = "a loopback address (127.0.0.1 or ::1) in auth.mode `none` or `dev`; set \
                    MLSDM_INSECURE=1 to listen on this address anyway";
        check(closed, "api.host", must)
    }

    fn has_keys_or_certificates(&self) -> bool {
        self.keys.is_on() || !self.certificates.is_empty()
    }

    fn validate_certificates(&self, closed: bool) -> Result<(), Fault> {
        let must = "empty in auth.mode `dev` or `none`";
        check(closed || self.certificates.is_empty(), "auth.certificates", must)?;
        let roles = self.known_roles();
        let mut named = self.certificates.iter().flat_map(|entry| &entry.roles);
        let must = "a list of `name=role+role` with existing roles, built-in or from auth.roles";
        check(named.all(|role| roles.has(role)), "auth.certificates", must)
    }

    /// Checks that an issuer is set if `auth.oidc.enabled` was given as true.
    pub(super) fn validate_enabled(&self, enabled_given: bool) -> Result<(), Fault> {
        let missing = enabled_given && self.oidc.enabled && self.oidc.issuer.is_empty();
        check(!missing, "auth.oidc.issuer", "set (MLSDM_OIDC_ISSUER), since OIDC is enabled")
    }
}
