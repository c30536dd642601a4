//! Acts on an engine: its creation, its policy, the data subjects and the log itself.

use serde::{Deserialize, Serialize};

use crate::domain::{
    ids::{Position, QuarantineId, Sha256, SubjectRef},
    policy::Policy,
};

/// `engine.created`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineCreated {
    /// The policy of the engine.
    pub policy: Policy,
    /// The log format from this event on.
    pub log_format: u32,
    /// Hash of the policy in the configuration, if the engine was created from the configuration.
    pub config_hash: Option<String>,
}

/// `policy.changed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyChanged {
    /// The complete new policy.
    pub policy: Policy,
    /// Dotted names of the changed fields.
    pub diff: Vec<String>,
    /// The administrator, as a plain name, or `config`.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
    /// Hash of the policy in the configuration, if the configuration caused the change.
    pub config_hash: Option<String>,
    /// The policy in the configuration; the next change of the configuration is computed against
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Policy>,
    /// The report of a simulation on which the change is based.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<PolicyEvidence>,
}

/// The report of a simulated policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyEvidence {
    /// SHA-256 of the report.
    pub report: Sha256,
    /// The first position that the simulation covered.
    pub from: Position,
    /// The last position that it covered.
    pub through: Position,
    /// The root hash of the log at that position.
    pub root: Sha256,
    /// Verdicts that differ on the recorded state.
    pub direct_flips: u64,
    /// Verdicts that differ only because the simulated state had drifted.
    pub cascade_flips: u64,
}

/// `engine.shutdown`, `engine.resumed`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `subject.erased`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectErased {
    /// The pseudonym of the erased data subject.
    pub subject_ref: SubjectRef,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `subject.exported`: the data of a data subject was exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectExported {
    /// The pseudonym of the data subject.
    pub subject_ref: SubjectRef,
    /// An administrator as a plain name, or the pseudonym of the data subject.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `hold.placed`, `hold.released`: a hold keeps the contents of a data subject from expiring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The pseudonym of the data subject.
    pub subject_ref: SubjectRef,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// `state.attested`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAttested {
    /// The state digest at the position before this event, in hexadecimal.
    pub digest: String,
}

/// `log.format_raised`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFormatRaised {
    /// The format before this event.
    pub from: u32,
    /// The format from this event on.
    pub to: u32,
    /// The administrator, as a plain name.
    pub actor: String,
}

/// `log.recovered`: events were moved into quarantine or lost; the log goes on without them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecovered {
    /// The first position that is missing, which is the position of this event.
    pub from: Position,
    /// The last position that is missing, as far as it is known; `from - 1` if none is known.
    pub through: Position,
    /// The id under which the events are kept; absent if they were lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_id: Option<QuarantineId>,
    /// The chain hash of the last missing event, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_chain_hash: Option<Sha256>,
    /// The last signed checkpoint that covers missing events, at most [`NOTE_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The administrator, as a plain name.
    pub actor: String,
    /// The reason given by the actor.
    pub reason: String,
}

/// The maximum length of a signed checkpoint in bytes.
pub const NOTE_MAX: usize = 8_192;
