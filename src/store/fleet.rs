//! The log format and the rules that all live processes know.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::rules::Rules;

/// The abilities that all live processes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// The newest log format that all of them read.
    pub log_format: u32,
    /// The newest rules that all of them know.
    pub rules: u32,
}

impl Fleet {
    /// The abilities that both have.
    #[must_use]
    pub fn lowest(self, other: Self) -> Self {
        Self {
            log_format: self.log_format.min(other.log_format),
            rules: self.rules.min(other.rules),
        }
    }
}

/// The abilities of the live processes as this one saw them last; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedFleet(Arc<Mutex<Option<Fleet>>>);

impl SharedFleet {
    /// The newest rules that this process and all live ones know.
    pub(super) fn rules(&self) -> Rules {
        let fleet = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fleet.map_or(Rules::NEWEST, |fleet| Rules::up_to(fleet.rules))
    }

    pub(super) fn set(&self, fleet: Fleet) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fleet);
    }
}
