//! `tls`: the server's certificate, and its clients'.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use super::error::{Fault, check};

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    V13,
}

/// Whether clients need a certificate, where a `client_ca` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Who has one shows it; a bad one is refused.
    Optional,
    /// Who has none is refused.
    Required,
}

/// Transport security; off without a certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    cert: String,
    key: String,
    client_ca: String,
    /// Whether clients need a certificate.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    reload_seconds: u64,
}

impl Tls {
    /// The files of the certificate's chain and its key; none: no TLS.
    pub fn pair(&self) -> Option<(&Path, &Path)> {
        (!self.cert.is_empty()).then(|| (Path::new(&self.cert), Path::new(&self.key)))
    }

    /// The file of who signs clients' certificates.
    pub fn client_ca(&self) -> Option<&Path> {
        (!self.client_ca.is_empty()).then(|| Path::new(&self.client_ca))
    }

    /// How often files are looked at for a change.
    pub const fn reload(&self) -> Duration {
        Duration::from_secs(self.reload_seconds)
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let both = self.cert.is_empty() == self.key.is_empty();
        check(both, "tls.key", "given together with tls.cert, or neither")?;
        let served = self.client_ca.is_empty() || !self.cert.is_empty();
        check(served, "tls.client_ca", "not set as long as tls.cert is not")?;
        let required = self.client_auth == ClientAuth::Required;
        let known = !required || !self.client_ca.is_empty();
        check(known, "tls.client_auth", "`optional` as long as tls.client_ca is not set")?;
        let reload = (1..=86_400).contains(&self.reload_seconds);
        check(reload, "tls.reload_seconds", "between 1 and 86400")
    }
}
