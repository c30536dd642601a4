//! Client certificates: which names are whose.
//!
//! The handshake has verified a certificate before it comes here ([`crate::tls`]); what is left is to
//! say who its bearer is. A certificate that configuration does not name is nobody's.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use super::{EngineScope, Method, Principal, role::Roles};
use crate::tls::ClientCertificate;

/// A name of a certificate and the roles of its bearer: `name=role+role`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CertificateEntry {
    /// The common name, or an alternative name such as `spiffe://example.org/bot`.
    pub name: String,
    /// The roles.
    pub roles: Vec<String>,
}

/// What an entry must be; one text, so that the error of a variable can say it whole.
const ENTRY: &str = "expected a list of `name=role+role`: a certificate's common or alternative \
     name, and roles";

impl TryFrom<String> for CertificateEntry {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        // a name may have `=` in it, a role's has none
        let (name, roles) = text.rsplit_once('=').ok_or(ENTRY)?;
        let (name, roles) = (name.trim(), roles.split('+').map(str::trim));
        let roles: Vec<String> = roles.map(str::to_owned).collect();
        let fits = !name.is_empty() && roles.iter().all(|role| !role.is_empty());
        fits.then(|| Self { name: name.to_owned(), roles }).ok_or(ENTRY)
    }
}

/// Who the bearers of certificates are.
#[derive(Default)]
pub(super) struct Certificates(BTreeMap<String, Arc<Principal>>);

impl Certificates {
    /// Those of configuration.
    pub(super) fn new(entries: &[CertificateEntry], engines: &EngineScope, roles: &Roles) -> Self {
        let principal = |entry: &CertificateEntry| {
            let (named, permissions) = roles.resolve(entry.roles.iter().map(String::as_str));
            let principal = Principal {
                subject: format!("cert:{}", entry.name),
                name: None,
                roles: named,
                permissions,
                engines: engines.clone(),
                method: Method::Certificate,
                expires_at: None,
                rate: None,
                budget: None,
            };
            (entry.name.clone(), Arc::new(principal))
        };
        Self(entries.iter().map(principal).collect())
    }

    /// Whose certificate it is: by its own name first, then by its alternative ones.
    pub(super) fn find(&self, certificate: &ClientCertificate) -> Option<Arc<Principal>> {
        let mut names = std::iter::once(&certificate.name).chain(&certificate.alternatives);
        names.find_map(|name| self.0.get(name)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permission;

    fn entry(text: &str) -> Result<CertificateEntry, &'static str> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_certificate_is_found_by_any_of_its_names_and_only_exactly() {
        let entries =
            [entry("ann=user").unwrap(), entry("spiffe://a/bot = service+auditor").unwrap()];
        let engines = EngineScope::named(["default"]);
        let known = Certificates::new(&entries, &engines, &Roles::new(&[]));
        let of = |name: &str, alternatives: &[&str]| {
            known.find(&ClientCertificate {
                name: name.to_owned(),
                subject: format!("CN={name}"),
                alternatives: alternatives.iter().map(|&name| name.to_owned()).collect(),
            })
        };
        let ann = of("ann", &[]).unwrap();
        assert_eq!((ann.subject.as_str(), ann.method), ("cert:ann", Method::Certificate));
        assert!(ann.may(Permission::Generate) && !ann.may(Permission::AuditRead));
        let bot = of("bot", &["bot.example", "spiffe://a/bot"]).unwrap();
        assert_eq!(bot.roles, ["service", "auditor"]);
        assert!(of("Ann", &["anna", "spiffe://a/bot/x"]).is_none());
    }

    #[test]
    fn an_entry_is_a_name_and_roles() {
        assert_eq!(entry("CN=ann=user").unwrap().name, "CN=ann");
        for bad in ["ann", "ann=", "=user", "ann=user+", ""] {
            assert_eq!(entry(bad), Err(ENTRY), "{bad}");
        }
    }
}
