//! TLS: the server certificate, which can be replaced at run time, and client certificates.
//!
//! The server reloads certificate and key on SIGHUP and when the files change; open connections keep the
//! old certificate. A pair that is not valid is logged, and the old one stays in use. The certificate
//! authorities of clients are read only at start. Deliberately not here: the permissions of a client
//! with a certificate (`auth`).

mod client;
pub mod own;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{
        ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

pub use client::{ClientCertificate, on_connect};

use crate::{
    config::{self, ClientAuth, TlsVersion},
    lifecycle::Stop,
};

/// Largest certificate or key file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check tls.cert, tls.key and tls.client_ca", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file does not contain the expected PEM block.
    #[error("{} contains no {what} in PEM format; check tls.cert, tls.key and tls.client_ca", path.display())]
    Pem {
        /// Path of the file.
        path: PathBuf,
        /// The missing block.
        what: &'static str,
    },
    /// The certificate or the key is not valid, or they do not belong together.
    #[error(
        "tls.cert and tls.key cannot be used: {0}; tls.cert must be a certificate chain and tls.key the \
         key of its first certificate"
    )]
    Pair(rustls::Error),
    /// A certificate authority is not valid.
    #[error("tls.client_ca cannot be used: {0}; it must contain CA certificates")]
    ClientCa(#[from] VerifierBuilderError),
    /// rustls rejected the settings.
    #[error("TLS cannot be configured: {0}; check the section tls of the configuration")]
    Setup(rustls::Error),
    /// The process cannot register a handler for SIGHUP.
    #[error("cannot register a handler for SIGHUP: {0}")]
    Signal(io::Error),
}

/// The TLS configuration of a server.
pub struct Tls {
    /// For the listener.
    pub config: ServerConfig,
    /// The server certificate.
    pub certificate: Arc<Certificate>,
}

impl Tls {
    /// Reads the configured files; `None` if no certificate is configured.
    pub fn open(settings: &config::Tls) -> Result<Option<Self>, TlsError> {
        let Some((cert, key)) = settings.pair() else { return Ok(None) };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = Arc::new(Certificate::open(cert, key, &provider)?);
        let versions = match settings.min_version {
            TlsVersion::V12 => &[&TLS13, &TLS12][..],
            TlsVersion::V13 => &[&TLS13][..],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Setup)?;
        let builder = match settings.client_ca() {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = client_verifier(path, settings.client_auth, provider)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        // the listener sets the ALPN protocols, HTTP/2 first
        let config = builder.with_cert_resolver(Arc::clone(&certificate) as _);
        Ok(Some(Self { config, certificate }))
    }
}

fn client_verifier(
    path: &Path,
    auth: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, &read(path)?)? {
        roots.add(authority).map_err(TlsError::Setup)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    Ok(builder.build()?)
}

/// The server certificate, which can be replaced at run time.
#[derive(Debug)]
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
    /// Digest of the files when they were last read, valid or not.
    seen: ArcSwap<[u8; 32]>,
}

impl Certificate {
    fn open(cert: &Path, key: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let files = Files::read(cert, key)?;
        let pair = files.pair(cert, key, provider)?;
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            provider: Arc::clone(provider),
            current: ArcSwap::from_pointee(pair),
            seen: ArcSwap::from_pointee(files.digest()),
        })
    }

    /// Expiry in seconds since the Unix epoch; `None` if the certificate cannot be parsed.
    pub fn ends_at(&self) -> Option<i64> {
        let current = self.current.load();
        let (_, certificate) = X509Certificate::from_der(current.end_entity_cert().ok()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// Loads the files if they have changed. Returns true if it did.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.cert, &self.key)?;
        let digest = files.digest();
        if **self.seen.load() == digest {
            return Ok(false);
        }
        // also for an invalid pair, so that it is logged once
        self.seen.store(Arc::new(digest));
        let pair = files.pair(&self.cert, &self.key, &self.provider)?;
        self.current.store(Arc::new(pair));
        Ok(true)
    }

    /// Reloads on SIGHUP and when the files have changed, until the server stops.
    pub fn watch(
        self: Arc<Self>,
        every: Duration,
        stop: Stop,
    ) -> Result<impl Future<Output = ()> + Send, TlsError> {
        let mut hangup = signal(SignalKind::hangup()).map_err(TlsError::Signal)?;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(async move {
            loop {
                tokio::select! {
                    () = stop.soft() => return,
                    _ = hangup.recv() => self.reload_and_log(true).await,
                    _ = ticks.tick() => self.reload_and_log(false).await,
                }
            }
        })
    }

    /// Reloads and logs the result; unchanged files are logged only after a signal.
    async fn reload_and_log(self: &Arc<Self>, signalled: bool) {
        let certificate = Arc::clone(self);
        let reloaded = tokio::task::spawn_blocking(move || certificate.reload()).await;
        match reloaded {
            Ok(Ok(true)) => {
                tracing::info!(event_type = "tls.reloaded", "loaded a new TLS certificate");
            }
            Ok(Ok(false)) if signalled => {
                tracing::info!(
                    event_type = "tls.unchanged",
                    "the TLS certificate files have not changed"
                );
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::error!(
                    event_type = "tls.reload_failed",
                    "the new TLS certificate is not valid, the old one stays in use: {error}"
                );
            }
            Err(error) => tracing::error!(
                event_type = "tls.reload_failed",
                "reloading the TLS certificate failed: {error}"
            ),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The contents of the certificate and the key file.
struct Files {
    cert: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
}

impl Files {
    fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { cert: read(cert)?, key: read(key)?.into() })
    }

    fn digest(&self) -> [u8; 32] {
        let hash = Sha256::new().chain_update(Sha256::digest(&self.cert));
        hash.chain_update(Sha256::digest(&*self.key)).finalize().into()
    }

    fn pair(
        &self,
        cert: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let chain = certificates(cert, &self.cert)?;
        let private = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| TlsError::Pem { path: key.to_owned(), what: "private key" })?;
        CertifiedKey::from_der(chain, private, provider).map_err(TlsError::Pair)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read(path).map_err(failed)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| TlsError::Pem { path: path.to_owned(), what: "certificate" })
}
