//! Roles: names for sets of permissions, the built-in ones and those of configuration.

use std::collections::BTreeMap;

use super::permission::{Permission, Permissions};

/// The role of an end user or of an application that acts for itself.
pub const USER: &str = "user";
/// The role with every permission.
pub const ADMIN: &str = "admin";

const USER_PERMISSIONS: Permissions = Permissions::of(&[
    Permission::Generate,
    Permission::HistoryRead,
    Permission::StateRead,
    Permission::MemoryRead,
    Permission::MemoryWrite,
]);

const SERVICE_PERMISSIONS: Permissions =
    USER_PERMISSIONS.union(Permissions::of(&[Permission::SubjectDelegate]));

/// The roles that exist without configuration.
pub const BUILT_IN: [(&str, Permissions); 6] = [
    (USER, USER_PERMISSIONS),
    ("service", SERVICE_PERMISSIONS),
    ("trusted", SERVICE_PERMISSIONS.union(Permissions::of(&[Permission::MoralAssert]))),
    (
        "operator",
        Permissions::of(&[
            Permission::StateRead,
            Permission::AuditRead,
            Permission::AdminShutdown,
            Permission::ReplayRun,
            Permission::PolicyRead,
        ]),
    ),
    (
        "auditor",
        Permissions::of(&[
            Permission::StateRead,
            Permission::AuditRead,
            Permission::ContentRead,
            Permission::ReplayRun,
            Permission::PolicyRead,
        ]),
    ),
    (ADMIN, Permissions::ALL),
];

/// The roles of a server.
#[derive(Clone, Debug)]
pub struct Roles(BTreeMap<String, Permissions>);

impl Default for Roles {
    /// The built-in roles.
    fn default() -> Self {
        Self(BUILT_IN.into_iter().map(|(name, set)| (name.to_owned(), set)).collect())
    }
}

impl Roles {
    /// The built-in roles and the given ones. A given role with a built-in name extends that role.
    pub fn extended<'a>(entries: impl IntoIterator<Item = (&'a str, Permissions)>) -> Self {
        let mut roles = Self::default();
        for (name, permissions) in entries {
            let role = roles.0.entry(name.to_owned()).or_default();
            *role = role.union(permissions);
        }
        roles
    }

    /// Returns true if a role of exactly this name exists.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the given names that are roles, without repetitions, and the union of their
    /// permissions.
    pub fn resolve<'a>(&self, names: impl Iterator<Item = &'a str>) -> (Vec<String>, Permissions) {
        let mut roles: Vec<String> = Vec::new();
        let mut permissions = Permissions::NONE;
        for name in names {
            if let Some(granted) = self.0.get(name)
                && !roles.iter().any(|role| role == name)
            {
                roles.push(name.to_owned());
                permissions = permissions.union(*granted);
            }
        }
        (roles, permissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_roles_are_those_of_the_design() {
        let roles = Roles::default();
        let granted = |name: &str| roles.resolve([name].into_iter()).1;
        assert!(!granted("user").contains(Permission::SubjectDelegate));
        assert_eq!(granted("service").without(Permission::SubjectDelegate), granted("user"));
        assert!(!granted("service").contains(Permission::MoralAssert));
        assert_eq!(granted("trusted").without(Permission::MoralAssert), granted("service"));
        assert_ne!(granted("trusted"), granted("service"));
        assert!(!granted("operator").contains(Permission::ContentRead));
        assert!(granted("auditor").contains(Permission::ContentRead));
        assert!(!granted("auditor").contains(Permission::Generate));
        assert_eq!(granted("admin"), Permissions::ALL);
        for unknown in ["admin ", "Admin", "", "root"] {
            assert_eq!(granted(unknown), Permissions::NONE, "{unknown:?}");
        }
    }

    #[test]
    fn configuration_extends_roles_and_adds_new_ones() {
        let entries = [
            ("user", Permissions::of(&[Permission::AuditRead])),
            ("bot", Permissions::of(&[Permission::Generate, Permission::SubjectDelegate])),
        ];
        let roles = Roles::extended(entries);
        let (names, granted) = roles.resolve(["user", "bot", "nobody", "user"].into_iter());
        assert_eq!(names, ["user", "bot"]);
        assert!(granted.contains(Permission::AuditRead));
        assert!(granted.contains(Permission::SubjectDelegate));
        assert!(granted.contains(Permission::MemoryWrite), "built-in permissions remain");
    }
}
