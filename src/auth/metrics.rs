//! Metrics of refused callers.

use super::{Permission, Reason};
use crate::metrics::{Counter, EncodeLabelSet, Family, OTHER, Registry, specs};

specs! {
    AUTH_FAILURES = Counter "mlsdm_auth_failures_total" ["scheme", "reason"] "" "Credentials refused"
    DENIED = Counter "mlsdm_permission_denied_total" ["permission"] "" "Requests of authenticated callers without the required permission"
}

/// The way in which a request presented its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The header `Authorization`.
    Bearer,
    /// The header `X-API-Key`.
    ApiKey,
    /// Both headers.
    Other,
}

impl Scheme {
    const ALL: [Self; 3] = [Self::Bearer, Self::ApiKey, Self::Other];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::ApiKey => "api_key",
            Self::Other => OTHER,
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct FailureLabels {
    scheme: &'static str,
    reason: String,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct PermissionLabels {
    permission: &'static str,
}

/// Counts of refused callers.
#[derive(Debug)]
pub struct AuthMetrics {
    failures: Family<(Scheme, Reason), Counter>,
    denied: Family<Permission, Counter>,
}

impl Default for AuthMetrics {
    fn default() -> Self {
        let failures = Scheme::ALL.into_iter().flat_map(|scheme| Reason::ALL.map(|r| (scheme, r)));
        Self {
            failures: Family::new(failures),
            denied: Family::new(Permission::ALL.iter().copied()),
        }
    }
}

impl AuthMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let failures = self.failures.iter().map(|((scheme, reason), counter)| {
            let labels = FailureLabels { scheme: scheme.as_str(), reason: reason.to_string() };
            (labels, counter.clone())
        });
        registry.family(&AUTH_FAILURES, failures);
        let denied = self.denied.iter().map(|(permission, counter)| {
            (PermissionLabels { permission: permission.as_str() }, counter.clone())
        });
        registry.family(&DENIED, denied);
    }

    /// Counts a refused credential.
    pub fn refused(&self, scheme: Scheme, reason: Reason) {
        self.failures.inc(&(scheme, reason));
    }

    /// Counts a request of an authenticated caller without this permission.
    pub fn denied(&self, permission: Permission) {
        self.denied.inc(&permission);
    }
}
