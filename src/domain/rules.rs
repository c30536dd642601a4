//! The rules of `decide`, by version.
//!
//! Each event records the version with which it was decided, so that it can be decided again. A
//! change of the rules is a new version and a new branch; the branches of earlier versions remain,
//! because logs decided by them exist.

/// A version of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rules {
    /// The rules of the first release.
    V1,
}

impl Rules {
    /// The newest rules of this binary.
    pub const NEWEST: Self = Self::V1;

    /// The number of the version, as events record it.
    pub const fn version(self) -> u32 {
        match self {
            Self::V1 => 1,
        }
    }

    /// The rules with this version; `None` if this binary does not have them.
    pub const fn from_version(version: u32) -> Option<Self> {
        match version {
            1 => Some(Self::V1),
            _ => None,
        }
    }
}
