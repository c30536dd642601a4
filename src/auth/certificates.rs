//! Client certificates: maps names to principals.
//!
//! The TLS handshake has verified the certificate ([`crate::tls`]); this module only looks up its
//! name. A certificate that configuration does not name has no principal.

use std::{collections::BTreeMap, sync::Arc};

use super::{CertificateHolder, EngineScope, Method, Principal, role::Roles};
use crate::tls::ClientCertificate;

/// Principals by certificate name.
#[derive(Default)]
pub(super) struct Certificates(BTreeMap<String, Arc<Principal>>);

impl Certificates {
    pub(super) fn new(holders: &[CertificateHolder], engines: &EngineScope, roles: &Roles) -> Self {
        let principal = |holder: &CertificateHolder| {
            let (named, permissions) = roles.resolve(holder.roles.iter().map(String::as_str));
            let principal = Principal {
                subject: format!("cert:{}", holder.name),
                name: None,
                roles: named,
                permissions,
                engines: engines.clone(),
                method: Method::Certificate,
                key_id: None,
                expires_at: None,
                rate: None,
                budget: None,
            };
            (holder.name.clone(), Arc::new(principal))
        };
        Self(holders.iter().map(principal).collect())
    }

    /// Looks up the common name first, then the alternative names.
    pub(super) fn find(&self, certificate: &ClientCertificate) -> Option<Arc<Principal>> {
        let mut names = std::iter::once(&certificate.name).chain(&certificate.alternatives);
        names.find_map(|name| self.0.get(name)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permission;

    fn holder(name: &str, roles: &[&str]) -> CertificateHolder {
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        CertificateHolder { name: name.to_owned(), roles }
    }

    #[test]
    fn a_certificate_is_found_by_any_of_its_names_and_only_exactly() {
        let holders = [holder("ann", &["user"]), holder("spiffe://a/bot", &["service", "auditor"])];
        let engines = EngineScope::named(["default"]);
        let certificates = Certificates::new(&holders, &engines, &Roles::default());
        let find = |name: &str, alternatives: &[&str]| {
            certificates.find(&ClientCertificate {
                name: name.to_owned(),
                subject: format!("CN={name}"),
                alternatives: alternatives.iter().map(|&name| name.to_owned()).collect(),
            })
        };
        let ann = find("ann", &[]).unwrap();
        assert_eq!((ann.subject.as_str(), ann.method), ("cert:ann", Method::Certificate));
        assert!(ann.may(Permission::Generate) && !ann.may(Permission::AuditRead));
        let bot = find("bot", &["bot.example", "spiffe://a/bot"]).unwrap();
        assert_eq!(bot.roles, ["service", "auditor"]);
        assert!(find("Ann", &["anna", "spiffe://a/bot/x"]).is_none());
    }
}
