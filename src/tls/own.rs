//! TLS client for the server on this host, which trusts exactly the certificate in `tls.cert`.
//!
//! A host name check would fail, because the address of a local server is rarely in its certificate, and
//! would prove less than the certificate file. After the file was replaced, connections fail until the
//! server has reloaded it (within `tls.reload_seconds`).

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{TlsError, certificates, read};
use crate::config;

/// The client configuration for the local server; `None` if it has no certificate.
///
/// # Errors
/// [`TlsError`] if the file in `tls.cert` is not valid.
pub fn client(settings: &config::Tls) -> Result<Option<ClientConfig>, TlsError> {
    let Some((cert, _)) = settings.pair() else { return Ok(None) };
    let chain = certificates(cert, &read(cert)?)?;
    let leaf = chain.into_iter().next();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = PinnedCertificate { leaf, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Some(builder.with_no_client_auth()))
}

/// Accepts one certificate. The handshake verifies that the peer has its key.
#[derive(Debug)]
struct PinnedCertificate {
    leaf: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.leaf.as_ref() == Some(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
