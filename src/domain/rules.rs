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

    /// The newest rules of this binary that are not newer than `version`.
    pub fn up_to(version: u32) -> Self {
        Self::from_version(version.min(Self::NEWEST.version())).unwrap_or(Self::V1)
    }

    /// The rules with this version; `None` if this binary does not have them.
    pub const fn from_version(version: u32) -> Option<Self> {
        match version {
            1 => Some(Self::V1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_other_replicas_limit_the_rules_to_those_of_this_binary() {
        let newest = Rules::NEWEST.version();
        for version in 1..=newest {
            assert_eq!(Rules::up_to(version).version(), version);
            assert_eq!(Rules::from_version(version), Some(Rules::up_to(version)));
        }
        assert_eq!(Rules::up_to(newest + 1), Rules::NEWEST);
        assert_eq!((Rules::from_version(0), Rules::from_version(newest + 1)), (None, None));
    }
}
