//! Events of API keys. They occur only in the server's own log, `_system`.

use serde::{Deserialize, Serialize};

use crate::domain::{
    ids::{KeyId, Micros, Sha256},
    keys::KeyGrant,
};

/// `key.created`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCreated {
    /// The permanent id of the key; requests made with it have the actor `key:<id>`.
    pub id: KeyId,
    /// SHA-256 of the key's secret.
    pub hash: Sha256,
    /// The permissions and limits of the key.
    pub grant: KeyGrant,
    /// The administrator, as a plain name.
    pub actor: String,
}

/// `key.revoked`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevoked {
    /// The id of the key.
    pub id: KeyId,
    /// The administrator, as a plain name.
    pub actor: String,
}

/// `key.rotated`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The id of the key.
    pub id: KeyId,
    /// SHA-256 of the new secret.
    pub hash: Sha256,
    /// The end of the previous secret's validity; `None` if it became invalid at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Micros>,
    /// The administrator, as a plain name.
    pub actor: String,
}
