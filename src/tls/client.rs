//! The certificate of a client, as the handshake has verified it.

use std::any::Any;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// Who a client is by its certificate. On a connection only if an authority of `tls.client_ca` has
/// signed it and it is valid now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name, else the first alternative name, else the whole subject.
    pub name: String,
    /// The whole subject, such as `O=Example, CN=ann`.
    pub subject: String,
    /// The alternative names: of hosts, mail, and URIs such as SPIFFE's.
    pub alternatives: Vec<String>,
}

impl ClientCertificate {
    /// What a certificate says; none if it cannot be read or names nobody.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let alternatives: Vec<_> = alternatives
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(text)
            .collect();
        let common = subject.iter_common_name().find_map(|name| name.as_str().ok());
        let subject = subject.to_string();
        let name = common.map(str::to_owned).or_else(|| alternatives.first().cloned());
        let name = name.unwrap_or_else(|| subject.clone());
        (!name.trim().is_empty()).then_some(Self { name, subject, alternatives })
    }
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

/// Puts the certificate of a connection's client where its requests find it:
/// `request.conn_data::<ClientCertificate>()`.
pub fn on_connect(connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else { return };
    let (_, session) = stream.get_ref();
    let first = session.peer_certificates().and_then(|chain| chain.first());
    if let Some(certificate) = first.and_then(ClientCertificate::read) {
        tracing::debug!(event_type = "tls.client", name = certificate.name, "a client is known");
        data.insert(certificate);
    }
}
