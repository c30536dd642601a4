//! The error of a login.

use std::io;

/// Maximum length of an error code that is shown.
const ERROR_CODE_MAX: usize = 64;

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum LoginError {
    /// Exit code 2.
    #[error(
        "set MLSDM_OIDC_ISSUER, MLSDM_OIDC_AUDIENCE and MLSDM_OIDC_CLIENT_ID to log in; for your own \
         server in mode dev: export MLSDM_TOKEN=$(mlsdm token)"
    )]
    NotConfigured,
    /// Exit code 3.
    #[error(
        "no response from the identity provider; check that this host can reach auth.oidc.issuer"
    )]
    Unreachable,
    #[error("the identity provider refused the request: {0}")]
    Refused(String),
    #[error(
        "the identity provider names another issuer; set MLSDM_OIDC_ISSUER to exactly that issuer"
    )]
    Issuer,
    #[error(
        "the identity provider has an endpoint without TLS, which would receive tokens; configure \
         TLS at the provider"
    )]
    Insecure,
    #[error("the identity provider does not support device codes; log in without --device")]
    NoDeviceCodes,
    #[error(
        "unexpected response from the identity provider; check that auth.oidc.issuer is its issuer URL"
    )]
    Malformed,
    #[error(
        "the identity provider returned no JWT; configure it to issue JWTs for auth.oidc.audience \
         (deploy/OIDC.md)"
    )]
    NoJwt,
    #[error("the login was not completed in time; run the command again")]
    TimedOut,
    #[error(
        "the login has no refresh token; add a scope such as offline_access to auth.oidc.scopes"
    )]
    NotRenewable,
    #[error("cannot listen for the browser: {0}")]
    Listen(#[from] io::Error),
}

/// Reduces an error code to the characters of the standards (RFC 6749, section 5.2), so that it can be
/// shown in a terminal.
pub(super) fn error_code(text: &str) -> String {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    text.chars().take(ERROR_CODE_MAX).filter(is_allowed).collect()
}
