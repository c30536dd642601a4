//! Entries of lists, each a short text: `role=permission,permission` and `name=role+role`.

use serde::Deserialize;

use crate::domain::permission::{Permission, Permissions};

/// A role of configuration: `name=permission,permission`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RoleEntry {
    /// The role, as tokens name it.
    pub name: String,
    /// The permissions added to the built-in role of this name, or all permissions of a new role.
    pub permissions: Permissions,
}

/// The certificate of a client, by common or alternative name, with roles: `name=role+role`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CertificateEntry {
    /// The common name, or an alternative name such as `spiffe://example.org/bot`.
    pub name: String,
    /// The roles of a client with this certificate.
    pub roles: Vec<String>,
}

/// The syntax of a role. One text, because the error for a variable shows it whole.
const ROLE: &str = "expected a list of `role=permission,permission` (in a variable \
     `role=permission+permission`) of generate, history:read, state:read, memory:read, \
     memory:write, memory:share, subject:delegate, moral:assert, audit:read, content:read, \
     replay:run, policy:read, policy:write, admin:shutdown, engine:admin, subject:erase, key:admin, server:admin";

/// The syntax of a certificate entry.
const CERTIFICATE: &str = "expected a list of `name=role+role`: a certificate's common or alternative \
     name, and roles";

impl TryFrom<String> for RoleEntry {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let (name, list) = text.split_once('=').ok_or(ROLE)?;
        let name = name.trim();
        let mut permissions = Permissions::NONE;
        for word in list.split([',', '+']) {
            let permission: Permission = word.trim().parse().map_err(|_| ROLE)?;
            permissions = permissions.union(Permissions::of(&[permission]));
        }
        if name.is_empty() { Err(ROLE) } else { Ok(Self { name: name.to_owned(), permissions }) }
    }
}

impl TryFrom<String> for CertificateEntry {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        // the name of a certificate may contain `=`, a role cannot
        let (name, roles) = text.rsplit_once('=').ok_or(CERTIFICATE)?;
        let (name, roles) = (name.trim(), roles.split('+').map(str::trim));
        let roles: Vec<String> = roles.map(str::to_owned).collect();
        let valid = !name.is_empty() && roles.iter().all(|role| !role.is_empty());
        valid.then(|| Self { name: name.to_owned(), roles }).ok_or(CERTIFICATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_entry_is_a_name_and_permissions() {
        let entry = |text: &str| RoleEntry::try_from(text.to_owned());
        let bot = entry("bot = generate + subject:delegate").unwrap();
        let expected = Permissions::of(&[Permission::Generate, Permission::SubjectDelegate]);
        assert_eq!((bot.name.as_str(), bot.permissions), ("bot", expected));
        for bad in ["bot", "bot=", "=generate", "bot=dance", "bot=generate,,state:read"] {
            assert_eq!(entry(bad), Err(ROLE), "{bad}");
        }
    }

    #[test]
    fn the_hint_names_every_permission() {
        for permission in Permission::ALL {
            assert!(ROLE.contains(permission.as_str()), "{permission}");
        }
    }

    #[test]
    fn a_certificate_entry_is_a_name_and_roles() {
        let entry = |text: &str| CertificateEntry::try_from(text.to_owned());
        assert_eq!(entry("CN=ann=user").unwrap().name, "CN=ann");
        for bad in ["ann", "ann=", "=user", "ann=user+", ""] {
            assert_eq!(entry(bad), Err(CERTIFICATE), "{bad}");
        }
    }
}
