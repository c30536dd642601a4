//! `auth`: who may call, and how they prove who they are.

use std::net::IpAddr;

use jsonwebtoken::Algorithm;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IntoDeserializer as _},
};

use super::error::{Fault, check};
use crate::auth::{
    certificates::CertificateEntry,
    keys::KEY_BYTES_MAX,
    role::{RoleEntry, Roles},
};

/// Shortest API key, in bytes.
const KEY_BYTES_MIN: usize = 12;

/// Algorithms that may be configured: those of public keys.
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

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// By tokens of an identity provider.
    Oidc,
    /// By API keys.
    Keys,
    /// By either.
    #[serde(rename = "oidc+keys", alias = "both")]
    OidcAndKeys,
    /// By tokens of a key that this server makes for itself.
    Dev,
    /// Not at all.
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

/// Who may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    #[serde(deserialize_with = "unset")]
    mode: Option<AuthMode>,
    /// Whether `none` is meant on an address that others can reach.
    pub insecure: bool,
    /// Roles beside the built-in ones, and what is added to those.
    pub roles: Vec<RoleEntry>,
    /// The identity provider.
    pub oidc: Oidc,
    /// API keys.
    pub keys: ApiKeys,
    /// Names of client certificates, and the roles of their bearers.
    pub certificates: Vec<CertificateEntry>,
}

/// An identity provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    enabled: bool,
    /// Who issues tokens, exactly as they say it.
    pub issuer: String,
    /// Whom tokens must be for.
    pub audience: String,
    jwks_uri: String,
    /// The claim with the roles.
    pub roles_claim: String,
    /// The claim with the engines.
    pub engines_claim: String,
    /// Roles of a token without that claim.
    pub default_roles: Vec<String>,
    /// Algorithms that are taken.
    pub algorithms: Vec<Algorithm>,
    client_id: String,
    /// What `mlsdm login` asks for beside `openid`.
    pub scopes: Vec<String>,
}

/// API keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    user: SecretString,
    admin: SecretString,
    /// The engines of the user's key.
    pub engines: Vec<String>,
}

/// An empty text is no mode.
fn unset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AuthMode>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let mode: Result<_, serde::de::value::Error> =
        AuthMode::deserialize(text.as_str().into_deserializer());
    mode.map(Some).map_err(D::Error::custom)
}

fn set(secret: &SecretString) -> Option<&SecretString> {
    Some(secret).filter(|secret| !secret.expose_secret().is_empty())
}

impl Oidc {
    /// Whether tokens are to be taken.
    const fn is_on(&self) -> bool {
        self.enabled && !self.issuer.is_empty()
    }

    /// Where the keys are, if the issuer does not say.
    pub fn jwks_uri(&self) -> Option<&str> {
        Some(self.jwks_uri.as_str()).filter(|uri| !uri.is_empty())
    }

    /// What `mlsdm login` is to the provider; none where people cannot log in.
    pub fn client_id(&self) -> Option<&str> {
        Some(self.client_id.as_str()).filter(|id| !id.is_empty())
    }

    fn validate(&self, roles: &Roles) -> Result<(), Fault> {
        let url = "an https URL (http only for a loopback address)";
        check(is_secure(&self.issuer), "auth.oidc.issuer", url)?;
        check(self.jwks_uri().is_none_or(is_secure), "auth.oidc.jwks_uri", url)?;
        let must = "set (MLSDM_OIDC_AUDIENCE): whom the provider issues tokens of this server for";
        check(!self.audience.is_empty(), "auth.oidc.audience", must)?;
        let claims = [
            (&self.roles_claim, "auth.oidc.roles_claim"),
            (&self.engines_claim, "auth.oidc.engines_claim"),
        ];
        for (claim, key) in claims {
            check(!claim.is_empty(), key, "the name of a claim")?;
        }
        let known = self.default_roles.iter().all(|role| roles.has(role));
        check(known, "auth.oidc.default_roles", "a list of roles: built-in ones or of auth.roles")?;
        let signed = !self.algorithms.is_empty()
            && self.algorithms.iter().all(|algorithm| ALGORITHMS.contains(algorithm));
        let must = "a list of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA \
                    (a provider's public keys are no secrets: HS256 and the like cannot be taken)";
        check(signed, "auth.oidc.algorithms", must)
    }
}

/// What is asked of it must come from it: over TLS, or not leave the machine.
fn is_secure(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && local)
}

impl ApiKeys {
    /// The key of role `user`.
    pub fn user(&self) -> Option<&SecretString> {
        set(&self.user)
    }

    /// The key of role `admin`.
    pub fn admin(&self) -> Option<&SecretString> {
        set(&self.admin)
    }

    fn is_on(&self) -> bool {
        self.user().is_some() || self.admin().is_some()
    }

    fn validate(&self) -> Result<(), Fault> {
        let must = "12 to 512 printable ASCII characters without spaces; \
                    make one with `openssl rand -hex 32`";
        let fits = |key: &SecretString| {
            let key = key.expose_secret();
            (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len())
                && key.bytes().all(|b| b.is_ascii_graphic())
        };
        check(self.user().is_none_or(fits), "auth.keys.user", must)?;
        check(self.admin().is_none_or(fits), "auth.keys.admin", must)?;
        let shared = self.user().zip(self.admin());
        let differ =
            shared.is_none_or(|(user, admin)| user.expose_secret() != admin.expose_secret());
        check(differ, "auth.keys.admin", "another key than auth.keys.user")
    }
}

impl Auth {
    /// How callers prove who they are on this address. What was not said follows from what is
    /// configured; without anything, on a loopback address, from there.
    pub fn mode(&self, host: IpAddr) -> AuthMode {
        self.decided(host).unwrap_or(AuthMode::Dev)
    }

    fn decided(&self, host: IpAddr) -> Option<AuthMode> {
        let configured = match (self.oidc.is_on(), self.knows_some()) {
            (true, true) => Some(AuthMode::OidcAndKeys),
            (true, false) => Some(AuthMode::Oidc),
            (false, true) => Some(AuthMode::Keys),
            (false, false) => host.is_loopback().then_some(AuthMode::Dev),
        };
        self.mode.or(configured)
    }

    pub(super) fn validate(&self, host: IpAddr) -> Result<(), Fault> {
        let must = "set on an address that others can reach: `oidc` (with MLSDM_OIDC_ISSUER and \
                    MLSDM_OIDC_AUDIENCE), `keys` (with API_KEY or ADMIN_API_KEY), `oidc+keys`, or \
                    `none` with MLSDM_INSECURE=1; or set api.host to a loopback address";
        let Some(mode) = self.decided(host) else { return check(false, "auth.mode", must) };
        let oidc = matches!(mode, AuthMode::Oidc | AuthMode::OidcAndKeys);
        let keys = matches!(mode, AuthMode::Keys | AuthMode::OidcAndKeys);
        let must = "`oidc` or `oidc+keys`, since auth.oidc.issuer is set; or set \
                    MLSDM_OIDC_ENABLED=false";
        check(oidc || !self.oidc.is_on(), "auth.mode", must)?;
        let must = "`keys` or `oidc+keys`, since API_KEY or ADMIN_API_KEY is set; or remove them";
        check(keys || !self.keys.is_on(), "auth.mode", must)?;
        if oidc {
            let must = "set (MLSDM_OIDC_ISSUER), and auth.oidc.enabled true, to take tokens";
            check(self.oidc.is_on(), "auth.oidc.issuer", must)?;
            self.oidc.validate(&Roles::new(&self.roles))?;
        }
        if mode == AuthMode::Keys {
            // with tokens too, who comes with one creates the first key
            let must = "set (API_KEY), or auth.keys.admin (ADMIN_API_KEY), to take keys";
            check(self.knows_some(), "auth.keys.user", must)?;
        }
        if keys {
            self.keys.validate()?;
        }
        self.check_certificates(oidc || keys)?;
        let closed = oidc || keys || host.is_loopback() || self.insecure;
        let must = "a loopback address (127.0.0.1 or ::1) as long as auth.mode is `none` or `dev`; \
                    set MLSDM_INSECURE=1 to serve it so all the same";
        check(closed, "api.host", must)
    }

    /// Whether some callers are known by what they hold: keys, or certificates.
    fn knows_some(&self) -> bool {
        self.keys.is_on() || !self.certificates.is_empty()
    }

    fn check_certificates(&self, closed: bool) -> Result<(), Fault> {
        let must = "empty as long as auth.mode is `dev` or `none`";
        check(closed || self.certificates.is_empty(), "auth.certificates", must)?;
        let roles = Roles::new(&self.roles);
        let mut named = self.certificates.iter().flat_map(|entry| &entry.roles);
        let must =
            "a list of `name=role+role` of roles that there are: built-in ones or of auth.roles";
        check(named.all(|role| roles.has(role)), "auth.certificates", must)
    }

    /// An issuer must be there when tokens were asked for aloud.
    pub(super) fn check_enabled(&self, said: bool) -> Result<(), Fault> {
        let missing = said && self.oidc.enabled && self.oidc.issuer.is_empty();
        check(!missing, "auth.oidc.issuer", "set (MLSDM_OIDC_ISSUER), since OIDC is enabled")
    }
}
