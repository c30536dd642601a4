//! What happened to API keys; only in the server's own log.

use serde::{Deserialize, Serialize};

use crate::domain::{
    ids::{KeyId, Micros, Sha256},
    keys::KeyGrant,
};

/// `key.created`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCreated {
    /// Its name for good; the actor of what it does is `key:` and this.
    pub id: KeyId,
    /// SHA-256 of its secret.
    pub hash: Sha256,
    /// What it was given.
    pub grant: KeyGrant,
    /// Who, by clear name: an administrative act.
    pub actor: String,
}

/// `key.revoked`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevoked {
    /// The key.
    pub id: KeyId,
    /// Who, by clear name.
    pub actor: String,
}

/// `key.rotated`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The key.
    pub id: KeyId,
    /// SHA-256 of its new secret.
    pub hash: Sha256,
    /// Until when the secret before still counts; without: no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Micros>,
    /// Who, by clear name.
    pub actor: String,
}
