//! API keys: kept as SHA-256 only, and looked up by it.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    EngineScope, Method, Principal, Reason,
    role::{ADMIN, Roles, USER},
};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;

type Digest = [u8; 32];

/// The keys of a server.
pub struct Keys {
    fixed: Vec<(Digest, Arc<Principal>)>,
    managed: ArcSwap<HashMap<Digest, Arc<Principal>>>,
}

impl Keys {
    /// The two of configuration, each of its role.
    pub fn fixed(
        user: Option<&SecretString>,
        admin: Option<&SecretString>,
        engines: &EngineScope,
        roles: &Roles,
    ) -> Self {
        let key = |key: &SecretString, role: &'static str, engines: EngineScope| {
            let (named, permissions) = roles.resolve([role].into_iter());
            let principal = Principal {
                subject: format!("key:{role}"),
                name: None,
                roles: named,
                permissions,
                engines,
                method: Method::Key,
                expires_at: None,
            };
            (digest(key.expose_secret()), Arc::new(principal))
        };
        let user = user.map(|user| key(user, USER, engines.clone()));
        let admin = admin.map(|admin| key(admin, ADMIN, EngineScope::All));
        Self { fixed: user.into_iter().chain(admin).collect(), managed: ArcSwap::default() }
    }

    /// Replaces the keys that are not of configuration, by the hash of each.
    pub fn manage(&self, keys: HashMap<Digest, Arc<Principal>>) {
        self.managed.store(Arc::new(keys));
    }

    /// Whose key it is. Every fixed key is compared, whichever fits, in time that does not depend on
    /// the key; a managed one is looked up by a hash that nobody can steer towards another.
    pub fn find(&self, key: &str, now: i64) -> Result<Arc<Principal>, Reason> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        let digest = digest(key);
        let mut found = None;
        for (own, principal) in &self.fixed {
            if bool::from(own.ct_eq(&digest)) {
                found = Some(Arc::clone(principal));
            }
        }
        let found = found.or_else(|| self.managed.load().get(&digest).cloned());
        let principal = found.ok_or(Reason::UnknownApiKey)?;
        if principal.expires_at.is_some_and(|end| now >= end) {
            return Err(Reason::Expired);
        }
        Ok(principal)
    }
}

fn digest(key: &str) -> Digest {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let (user, admin) = ("user-key-0123456".into(), "admin-key-0123456".into());
        let engines = EngineScope::named(["default"]);
        Keys::fixed(Some(&user), Some(&admin), &engines, &Roles::new(&[]))
    }

    #[test]
    fn each_key_has_its_role() {
        let keys = keys();
        let user = keys.find("user-key-0123456", 0).unwrap();
        let admin = keys.find("admin-key-0123456", 0).unwrap();
        assert_eq!(
            (user.subject.as_str(), user.roles.as_slice()),
            ("key:user", &["user".into()][..])
        );
        assert_eq!((admin.subject.as_str(), &admin.engines), ("key:admin", &EngineScope::All));
        for bad in ["", "user-key-012345", "user-key-01234567", "User-key-0123456"] {
            assert_eq!(keys.find(bad, 0), Err(Reason::UnknownApiKey));
        }
        assert_eq!(keys.find(&"x".repeat(513), 0), Err(Reason::TooLong));
    }

    /// By construction: what is kept and compared are hashes of one length, never keys.
    #[test]
    fn no_key_is_kept_and_all_hashes_are_compared() {
        let keys = keys();
        assert_eq!(keys.fixed.len(), 2);
        for (own, key) in keys.fixed.iter().zip(["user-key-0123456", "admin-key-0123456"]) {
            assert_eq!(own.0.as_slice(), Sha256::digest(key).as_slice());
        }
        let source = include_str!("keys.rs");
        let find = source.split("pub fn find").nth(1).unwrap().split("\nfn digest").next().unwrap();
        assert!(find.contains(".ct_eq(") && !find.contains("break") && !find.contains("== key"));
    }

    #[test]
    fn managed_keys_come_go_and_expire() {
        let keys = keys();
        let bot = Principal { expires_at: Some(100), ..Principal::anonymous() };
        keys.manage(HashMap::from([(digest("managed"), Arc::new(bot))]));
        assert!(keys.find("managed", 99).is_ok());
        assert_eq!(keys.find("managed", 100), Err(Reason::Expired));
        keys.manage(HashMap::new());
        assert_eq!(keys.find("managed", 99), Err(Reason::UnknownApiKey));
    }
}
