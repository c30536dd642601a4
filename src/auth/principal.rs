//! The authenticated caller.

use std::collections::BTreeSet;

use super::{Permission, Permissions};
use crate::{
    domain::{
        budget::Amount,
        event::{Auth, AuthScheme},
        ids::{EngineId, KeyId},
    },
    rates::Rate,
};

/// The engines that a principal can access. All others answer as if they did not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineScope {
    /// Every engine.
    All,
    /// The named engines.
    Only(BTreeSet<EngineId>),
}

impl EngineScope {
    /// Parses the names in a configuration or token; `*` means all. Invalid names are ignored.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut only = BTreeSet::new();
        for name in names {
            if name == "*" {
                return Self::All;
            }
            only.extend(name.parse::<EngineId>().ok());
        }
        Self::Only(only)
    }

    /// Returns true if the engine is in scope.
    pub fn contains(&self, id: &EngineId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(id),
        }
    }

    /// Returns true if `other` is a subset.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Only(_), Self::All) => false,
            (Self::Only(these), Self::Only(others)) => others.is_subset(these),
        }
    }

    /// The names of the engines; `*` for all.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(ids) => ids.iter().map(EngineId::as_str).collect(),
        }
    }
}

/// The authentication method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A token of the identity provider.
    Oidc,
    /// An API key.
    Key,
    /// A TLS client certificate.
    Certificate,
    /// A token signed with this server's development key.
    Dev,
    /// Authentication is off.
    None,
}

impl Method {
    /// The kind of credential, as the events of a step record it.
    const fn scheme(self) -> AuthScheme {
        match self {
            Self::Oidc => AuthScheme::Oidc,
            Self::Key => AuthScheme::Key,
            Self::Certificate => AuthScheme::Certificate,
            Self::Dev => AuthScheme::Dev,
            Self::None => AuthScheme::None,
        }
    }

    /// The name in API responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::Key => "key",
            Self::Certificate => "certificate",
            Self::Dev => "dev",
            Self::None => "none",
        }
    }
}

/// An authenticated caller. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Recorded as the actor of all requests, and as the data subject unless the caller acts for another
    /// end user.
    pub subject: String,
    /// The display name.
    pub name: Option<String>,
    /// The roles that exist on this server.
    pub roles: Vec<String>,
    /// The permissions of these roles.
    pub permissions: Permissions,
    /// The engines that the caller can access.
    pub engines: EngineScope,
    /// The authentication method.
    pub method: Method,
    /// The id of the API key, if the system log has the key.
    pub key_id: Option<KeyId>,
    /// Expiry of the credential in seconds since the Unix epoch, if it expires.
    pub expires_at: Option<i64>,
    /// Rate limit of the credential; none uses the limit of the roles.
    pub rate: Option<Rate>,
    /// Budget of the credential in each window of an engine, in addition to the budgets of the end users
    /// for whom it acts.
    pub budget: Option<Amount>,
}

impl Principal {
    /// Returns true if the principal has the permission.
    pub const fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(permission)
    }

    /// The credential, as the events of a step record it.
    pub const fn credential(&self) -> Auth {
        Auth { scheme: self.method.scheme(), key_id: self.key_id }
    }

    /// The principal of every caller when authentication is off; has every permission.
    pub fn anonymous() -> Self {
        Self {
            subject: "anonymous".to_owned(),
            name: None,
            roles: Vec::new(),
            permissions: Permissions::ALL,
            engines: EngineScope::All,
            method: Method::None,
            key_id: None,
            expires_at: None,
            rate: None,
            budget: None,
        }
    }
}
