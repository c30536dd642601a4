//! Roles: names for sets of permissions, the built-in ones and those of configuration.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::permission::{Permission, Permissions};

/// The role of a caller who is a person or a program of one's own.
pub const USER: &str = "user";
/// The role that may do everything.
pub const ADMIN: &str = "admin";

const USER_MAY: Permissions = Permissions::of(&[
    Permission::Generate,
    Permission::HistoryRead,
    Permission::StateRead,
    Permission::MemoryRead,
    Permission::MemoryWrite,
]);

/// The roles that exist without configuration.
pub const BUILT_IN: [(&str, Permissions); 5] = [
    (USER, USER_MAY),
    ("service", USER_MAY.union(Permissions::of(&[Permission::SubjectDelegate]))),
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

/// A role of configuration: `name=permission,permission`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RoleEntry {
    /// Its name, as tokens say it.
    pub name: String,
    /// What it adds to the built-in role of this name, or is all a new role has.
    pub permissions: Permissions,
}

/// What a role must be; one text, so that the error of a variable can say it whole.
const ENTRY: &str = "expected a list of `role=permission,permission` (in a variable \
     `role=permission+permission`) of generate, history:read, state:read, memory:read, \
     memory:write, memory:share, subject:delegate, audit:read, content:read, replay:run, \
     policy:read, policy:write, admin:shutdown, engine:admin, subject:erase, key:admin, server:admin";

impl TryFrom<String> for RoleEntry {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let (name, list) = text.split_once('=').ok_or(ENTRY)?;
        let name = name.trim();
        let mut permissions = Permissions::NONE;
        for named in list.split([',', '+']) {
            let permission: Permission = named.trim().parse().map_err(|_| ENTRY)?;
            permissions = permissions.union(Permissions::of(&[permission]));
        }
        if name.is_empty() { Err(ENTRY) } else { Ok(Self { name: name.to_owned(), permissions }) }
    }
}

/// All roles of a server.
#[derive(Clone, Debug)]
pub struct Roles(BTreeMap<String, Permissions>);

impl Roles {
    /// The built-in roles and those of configuration.
    pub fn new(entries: &[RoleEntry]) -> Self {
        let built_in = BUILT_IN.into_iter().map(|(name, may)| (name.to_owned(), may));
        let mut roles: BTreeMap<_, _> = built_in.collect();
        for entry in entries {
            let role = roles.entry(entry.name.clone()).or_default();
            *role = role.union(entry.permissions);
        }
        Self(roles)
    }

    /// Whether there is a role of exactly this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Those of these names that are roles, each once, and what all of them may.
    pub fn resolve<'a>(&self, names: impl Iterator<Item = &'a str>) -> (Vec<String>, Permissions) {
        let mut roles: Vec<String> = Vec::new();
        let mut permissions = Permissions::NONE;
        for name in names {
            if let Some(may) = self.0.get(name)
                && !roles.iter().any(|role| role == name)
            {
                roles.push(name.to_owned());
                permissions = permissions.union(*may);
            }
        }
        (roles, permissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Result<RoleEntry, &'static str> {
        text.to_owned().try_into()
    }

    #[test]
    fn the_built_in_roles_are_those_of_the_design() {
        let roles = Roles::new(&[]);
        let may = |name: &str| roles.resolve([name].into_iter()).1;
        assert!(!may("user").contains(Permission::SubjectDelegate));
        assert_eq!(may("service").without(Permission::SubjectDelegate), may("user"));
        assert!(!may("operator").contains(Permission::ContentRead));
        assert!(may("auditor").contains(Permission::ContentRead));
        assert!(!may("auditor").contains(Permission::Generate));
        assert_eq!(may("admin"), Permissions::ALL);
        for stranger in ["admin ", "Admin", "", "root"] {
            assert_eq!(may(stranger), Permissions::NONE, "{stranger:?}");
        }
    }

    #[test]
    fn configuration_adds_to_roles_and_makes_new_ones() {
        let entries = [
            entry("user=audit:read").unwrap(),
            entry("bot = generate + subject:delegate").unwrap(),
        ];
        let roles = Roles::new(&entries);
        let (names, may) = roles.resolve(["user", "bot", "nobody", "user"].into_iter());
        assert_eq!(names, ["user", "bot"]);
        assert!(may.contains(Permission::AuditRead) && may.contains(Permission::SubjectDelegate));
        assert!(may.contains(Permission::MemoryWrite), "what was built in stays");
        for bad in ["bot", "bot=", "=generate", "bot=dance", "bot=generate,,state:read"] {
            assert_eq!(entry(bad), Err(ENTRY), "{bad}");
        }
    }

    #[test]
    fn the_hint_names_every_permission() {
        for permission in Permission::ALL {
            assert!(ENTRY.contains(permission.as_str()), "{permission}");
        }
    }
}
