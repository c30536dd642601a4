//! Permissions: a closed list, and sets of them.
//!
//! Part of the domain because configuration, tokens and recorded API keys name them. Deliberately not
//! here: the routes that require them.

use std::{fmt, str::FromStr};

macro_rules! permissions {
    ($($name:ident $text:literal $grants:literal,)*) => {
        /// An action that a role can allow. Routes require one, except the public ones and `GET /v1/me`,
        /// which needs only a credential.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Permission {
            $(#[doc = concat!("`", $text, "`: ", $grants, ".")] $name,)*
        }

        impl Permission {
            /// Every permission.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in configuration, documents and API responses.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

permissions! {
    Generate "generate" "run steps, and call the embedder and the scorer",
    HistoryRead "history:read" "read the caller's own requests",
    StateRead "state:read" "read the state of an engine",
    MemoryRead "memory:read" "read the caller's own memories",
    MemoryWrite "memory:write" "write and delete the caller's own memories",
    MemoryShare "memory:share" "share the caller's own memories with others",
    SubjectDelegate "subject:delegate" "act for other end users",
    MoralAssert "moral:assert" "state moral scores that replace those of the scorer",
    AuditRead "audit:read" "read the event log without contents",
    ContentRead "content:read" "read the contents of the event log",
    ReplayRun "replay:run" "replay logs",
    PolicyRead "policy:read" "read the policy of an engine",
    PolicyWrite "policy:write" "change the policy of an engine",
    AdminShutdown "admin:shutdown" "shut engines down and resume them",
    EngineAdmin "engine:admin" "list and create engines",
    SubjectErase "subject:erase" "erase an end user",
    KeyAdmin "key:admin" "manage API keys",
    ServerAdmin "server:admin" "change the running server",
}

/// The text is not the name of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown permission; the permissions are generate, state:read, audit:read and others, listed at \
     auth.roles in deploy/CONFIGURATION.md"
)]
pub struct UnknownPermission;

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or(UnknownPermission)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u32);

impl Permissions {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The set of all permissions.
    pub const ALL: Self = Self::of(Permission::ALL);

    /// The set of the listed permissions.
    pub const fn of(list: &[Permission]) -> Self {
        let (mut bits, mut n) = (0, 0);
        while n < list.len() {
            bits |= 1 << list[n] as u32;
            n += 1;
        }
        Self(bits)
    }

    /// The union of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without one permission.
    #[must_use]
    pub const fn without(self, permission: Permission) -> Self {
        Self(self.0 & !(1 << permission as u32))
    }

    /// Returns true if `other` is a subset.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns true if the permission is in the set.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u32) != 0
    }

    /// Iterates in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.contains(*permission))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_sets_contain_exactly_their_members() {
        assert_eq!(Permissions::ALL.iter().count(), 18);
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(*permission));
            let one = Permissions::of(&[*permission]);
            assert_eq!(one.iter().collect::<Vec<_>>(), [*permission]);
            assert!(!Permissions::ALL.without(*permission).contains(*permission));
            assert_eq!(Permissions::ALL.without(*permission).union(one), Permissions::ALL);
        }
        assert_eq!("Generate".parse::<Permission>(), Err(UnknownPermission));
    }
}
