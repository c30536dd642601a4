//! Events of the server. Except for `requests.refused` they occur only in its own log, `_system`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{
    ids::{EngineId, KeyId, MacKeyId, Micros, ReplicaId, Sha256},
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

/// `server.started`: a process began to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStarted {
    /// The id of the process.
    pub replica: ReplicaId,
    /// The version of the binary.
    pub version: String,
    /// The commit from which the binary was built, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// SHA-256 of the binary; absent if the process could not read its own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_sha256: Option<Sha256>,
    /// SHA-256 of the configuration without its secrets.
    pub config_hash: Sha256,
}

/// `requests.refused`: requests of one minute that were refused before a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsRefused {
    /// The start of the minute.
    pub minute: Micros,
    /// Their number by problem code, at most [`CODES_MAX`] codes.
    pub counts: BTreeMap<String, u64>,
}

/// `access.denied`: requests of one minute without a valid credential or permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessDenied {
    /// The start of the minute.
    pub minute: Micros,
    /// Their number by reason, at most [`CODES_MAX`] reasons.
    pub counts: BTreeMap<String, u64>,
}

/// The maximum number of codes or reasons in one event.
pub const CODES_MAX: usize = 64;

/// `mac_key.changed`: new events are authenticated with another key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacKeyChanged {
    /// The number of the new key.
    pub id: MacKeyId,
    /// The administrator, as a plain name.
    pub actor: String,
}

/// `audit_key.changed`: checkpoints are signed with another key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditKeyChanged {
    /// The origin line of the checkpoints; a rotation keeps it.
    pub origin: String,
    /// The new public key as a verifier key of signed notes.
    pub key: String,
    /// The end of the time in which the previous key signs too; absent if it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Micros>,
    /// The administrator, as a plain name.
    pub actor: String,
}

/// `settings.changed`: settings of the server were changed while it was running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChanged {
    /// The new values as text by setting, at most [`CODES_MAX`]. They contain no secret.
    pub values: BTreeMap<String, String>,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `engine.retired`: an engine was put out of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRetired {
    /// The name of the engine.
    pub engine: EngineId,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}
