//! `mlsdm`: the policy of engines that are created from this configuration.

use serde::Deserialize;

use super::error::Fault;
use crate::domain::policy::Policy;

/// The policy section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mlsdm {
    /// The complete policy, with shorthands and presets applied.
    pub policy: Policy,
}

impl Mlsdm {
    pub(super) fn validate(&self) -> Result<(), Fault> {
        self.policy.validate().map_err(|error| {
            let key = format!("mlsdm.policy.{}", error.field).into();
            Fault { key, must: error.must }
        })
    }
}
