//! `tls`: the server certificate and client certificates.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use super::error::{Fault, check};

/// The minimum TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    V13,
}

/// Client authentication with a configured `client_ca`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A client may present a certificate; an invalid one is refused.
    Optional,
    /// A client without a certificate is refused.
    Required,
}

/// Transport security; off without a certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    cert: String,
    key: String,
    client_ca: String,
    extra_ca: String,
    /// Client authentication.
    pub client_auth: ClientAuth,
    /// The minimum TLS version.
    pub min_version: TlsVersion,
    reload_seconds: u64,
}

impl Tls {
    /// The files of the certificate chain and the private key; none disables TLS.
    pub fn pair(&self) -> Option<(&Path, &Path)> {
        (!self.cert.is_empty()).then(|| (Path::new(&self.cert), Path::new(&self.key)))
    }

    /// The file with the authorities of client certificates.
    pub fn client_ca(&self) -> Option<&Path> {
        (!self.client_ca.is_empty()).then(|| Path::new(&self.client_ca))
    }

    /// The file with further authorities of the servers that this one calls.
    pub fn extra_ca(&self) -> Option<&Path> {
        (!self.extra_ca.is_empty()).then(|| Path::new(&self.extra_ca))
    }

    /// Interval of checks for changed files.
    pub const fn reload(&self) -> Duration {
        Duration::from_secs(self.reload_seconds)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let both = self.cert.is_empty() == self.key.is_empty();
        check(both, "tls.key", "set if and only if tls.cert is set")?;
        let served = self.client_ca.is_empty() || !self.cert.is_empty();
        check(served, "tls.client_ca", "empty unless tls.cert is set")?;
        let required = self.client_auth == ClientAuth::Required;
        let known = !required || !self.client_ca.is_empty();
        check(known, "tls.client_auth", "`optional` unless tls.client_ca is set")?;
        let reload = (1..=86_400).contains(&self.reload_seconds);
        check(reload, "tls.reload_seconds", "between 1 and 86400")
    }
}
