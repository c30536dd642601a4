//! Who somebody is, once that is proven.

use std::collections::BTreeSet;

use super::permission::{Permission, Permissions};
use crate::{
    domain::{budget::Amount, ids::EngineId},
    rates::Rate,
};

/// The engines that exist for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineScope {
    /// All of the log.
    All,
    /// These.
    Only(BTreeSet<EngineId>),
}

impl EngineScope {
    /// What configuration and tokens say: names, or `*` for all. What is no name of an engine names
    /// none.
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

    /// Whether an engine exists as far as they are concerned.
    pub fn contains(&self, id: &EngineId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(id),
        }
    }

    /// Whether whatever exists for `other` exists for them.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Only(_), Self::All) => false,
            (Self::Only(own), Self::Only(others)) => others.is_subset(own),
        }
    }

    /// The names; `*` alone for all.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(ids) => ids.iter().map(EngineId::as_str).collect(),
        }
    }
}

/// How somebody proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a token of the identity provider.
    Oidc,
    /// By an API key.
    Key,
    /// By the certificate of a TLS client.
    Certificate,
    /// By a token of this server's own development key.
    Dev,
    /// Not at all: nobody has to here.
    None,
}

impl Method {
    /// The name in answers and logs.
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

/// Somebody who is known. Holds nothing secret: neither token nor key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The actor of everything they do, and whose words theirs are unless they speak for others.
    pub subject: String,
    /// What people call them.
    pub name: Option<String>,
    /// Their roles, as far as this server knows them.
    pub roles: Vec<String>,
    /// What these let them do.
    pub permissions: Permissions,
    /// The engines that exist for them.
    pub engines: EngineScope,
    /// How they proved it.
    pub method: Method,
    /// Until when that counts, in seconds since the Unix epoch; without: until it is withdrawn.
    pub expires_at: Option<i64>,
    /// How often they may ask; without: as often as their roles may.
    pub rate: Option<Rate>,
    /// What they may spend in each window of an engine, whomever they speak for; without: what those
    /// may.
    pub budget: Option<Amount>,
}

impl Principal {
    /// Whether they may do something.
    pub const fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(permission)
    }

    /// Everybody, where nobody has to say who they are: may do everything.
    pub fn anonymous() -> Self {
        Self {
            subject: "anonymous".to_owned(),
            name: None,
            roles: Vec::new(),
            permissions: Permissions::ALL,
            engines: EngineScope::All,
            method: Method::None,
            expires_at: None,
            rate: None,
            budget: None,
        }
    }
}
