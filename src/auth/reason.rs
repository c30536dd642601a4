//! Why a credential was rejected. For logs and metrics only: the response does not depend on it.

/// Why a credential was rejected. A closed list, used as a metric label; contains nothing of the
/// credential itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// The request has more than one credential.
    #[error("two_credentials")]
    TwoCredentials,
    /// `Authorization` has another scheme or is not text.
    #[error("scheme")]
    Scheme,
    /// The credential exceeds the maximum length.
    #[error("too_long")]
    TooLong,
    /// The server does not accept this kind of credential.
    #[error("not_accepted")]
    NotAccepted,
    /// No API key matches.
    #[error("unknown_api_key")]
    UnknownApiKey,
    /// The token is not three parts of base64url and JSON, has duplicate keys, or is encrypted.
    #[error("malformed")]
    Malformed,
    /// The token's header has a refused parameter or type.
    #[error("header")]
    Header,
    /// The algorithm is not configured; `none` and symmetric ones cannot be.
    #[error("algorithm")]
    Algorithm,
    /// The named key has another type or use.
    #[error("key_type")]
    KeyType,
    /// The issuer has no key with this `kid`.
    #[error("unknown_key")]
    UnknownKey,
    /// The provider's keys are missing or too old.
    #[error("keys_unavailable")]
    KeysUnavailable,
    /// The signature is invalid.
    #[error("signature")]
    Signature,
    /// A required claim is missing or has another type.
    #[error("claim")]
    Claim,
    /// `iss` names another issuer.
    #[error("issuer")]
    Issuer,
    /// `aud` names another audience.
    #[error("audience")]
    Audience,
    /// The credential has expired.
    #[error("expired")]
    Expired,
    /// The credential is not valid yet.
    #[error("not_yet_valid")]
    NotYetValid,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 17] = [
        Self::TwoCredentials,
        Self::Scheme,
        Self::TooLong,
        Self::NotAccepted,
        Self::UnknownApiKey,
        Self::Malformed,
        Self::Header,
        Self::Algorithm,
        Self::KeyType,
        Self::UnknownKey,
        Self::KeysUnavailable,
        Self::Signature,
        Self::Claim,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
    ];
}
