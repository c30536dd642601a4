//! Why somebody is not who they say. For the log only: callers are all told the same.

/// A closed list, so that it can be counted; none says anything of the token or key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// More than one credential, of one kind or of two.
    #[error("two_credentials")]
    TwoCredentials,
    /// An `Authorization` of another scheme, or not text.
    #[error("scheme")]
    Scheme,
    /// Longer than any credential may be.
    #[error("too_long")]
    TooLong,
    /// A token where none is taken, or a key where none is taken.
    #[error("not_accepted")]
    NotAccepted,
    /// No key of this server.
    #[error("unknown_api_key")]
    UnknownApiKey,
    /// Not three parts of base64url and JSON; a member given twice; encrypted.
    #[error("malformed")]
    Malformed,
    /// A header that says how the token is to be verified.
    #[error("header")]
    Header,
    /// An algorithm that is not configured: `none` and the symmetric ones can never be.
    #[error("algorithm")]
    Algorithm,
    /// The key it names is of another type, or for another use.
    #[error("key_type")]
    KeyType,
    /// No key of this name.
    #[error("unknown_key")]
    UnknownKey,
    /// The provider's keys are not there, or too old.
    #[error("keys_unavailable")]
    KeysUnavailable,
    /// The signature is not that of the key.
    #[error("signature")]
    Signature,
    /// A claim that must be there is not, or is of another type.
    #[error("claim")]
    Claim,
    /// Another issuer.
    #[error("issuer")]
    Issuer,
    /// For somebody else.
    #[error("audience")]
    Audience,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time has not come.
    #[error("not_yet_valid")]
    NotYetValid,
}

impl Reason {
    /// All of them.
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
