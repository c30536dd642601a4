//! The client certificate of a connection, verified by the TLS handshake.

use std::any::Any;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// The identity in a client certificate. A connection has it only if an authority in `tls.client_ca` has
/// signed the certificate and it has not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name, else the first subject alternative name, else the subject.
    pub name: String,
    /// The subject, such as `O=Example, CN=ann`.
    pub subject: String,
    /// The subject alternative names of the types DNS, email and URI (such as SPIFFE ids).
    pub alternatives: Vec<String>,
}

impl ClientCertificate {
    /// Parses a certificate; `None` if it is not valid or has no name.
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

/// Stores the client certificate of a connection, for `request.conn_data::<ClientCertificate>()`.
pub fn on_connect(connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else { return };
    let (_, session) = stream.get_ref();
    let first = session.peer_certificates().and_then(|chain| chain.first());
    if let Some(certificate) = first.and_then(ClientCertificate::read) {
        tracing::debug!(
            event_type = "tls.client",
            name = certificate.name,
            "the connection has a client certificate"
        );
        data.insert(certificate);
    }
}
