//! `mlsdm`: the policy of engines created from this configuration.

use serde::Deserialize;

use super::error::Fault;
use crate::domain::policy::Policy;

/// The section that decides outcomes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mlsdm {
    /// The whole policy; shorthands and presets are already merged into it.
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
