//! TLS of the server: its certificate, exchanged while it serves, and the certificates of clients.
//!
//! A new pair of files is taken on SIGHUP and when their content changes; connections that are open
//! go on with the old one. A pair that cannot be used is logged and changes nothing. Deliberately not
//! here: what a client may do once it has shown a certificate. The authorities of clients are read at
//! the start only.

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

/// Largest file of certificates or a key, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("cannot read {}: {source}; check tls.cert, tls.key and tls.client_ca", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file without what it should have.
    #[error("{} has no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// A certificate and a key that cannot be used, or not together.
    #[error("tls.cert and tls.key cannot be used: {0}; give a chain and the key of its first one")]
    Pair(rustls::Error),
    /// An authority that is none.
    #[error("tls.client_ca cannot be used: {0}")]
    ClientCa(#[from] VerifierBuilderError),
    /// Settings that the library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
    /// The process may not hear SIGHUP.
    #[error("cannot listen for SIGHUP: {0}")]
    Signal(io::Error),
}

/// What a server needs to speak TLS.
pub struct Tls {
    /// For the listener.
    pub config: ServerConfig,
    /// The certificate it serves.
    pub certificate: Arc<Certificate>,
}

impl Tls {
    /// TLS as configured; none without a certificate.
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
        // the listener adds the protocols it speaks, HTTP/2 first
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

/// The server's certificate, which may be exchanged.
#[derive(Debug)]
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
    /// Of the files when they were last read, good or bad.
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

    /// When it ends, in seconds since the Unix epoch; none if it cannot be read.
    pub fn ends_at(&self) -> Option<i64> {
        let current = self.current.load();
        let (_, certificate) = X509Certificate::from_der(current.end_entity_cert().ok()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// Takes the files' pair if they have changed. Gives whether it did.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.cert, &self.key)?;
        let digest = files.digest();
        if **self.seen.load() == digest {
            return Ok(false);
        }
        // also of a bad pair, which is complained about once
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
                    _ = hangup.recv() => self.look(true).await,
                    _ = ticks.tick() => self.look(false).await,
                }
            }
        })
    }

    /// Reloads and says what came of it; of files that are the same only if somebody asked.
    async fn look(self: &Arc<Self>, asked: bool) {
        let certificate = Arc::clone(self);
        let reloaded = tokio::task::spawn_blocking(move || certificate.reload()).await;
        match reloaded {
            Ok(Ok(true)) => {
                tracing::info!(event_type = "tls.reloaded", "a new certificate is served");
            }
            Ok(Ok(false)) if asked => {
                tracing::info!(
                    event_type = "tls.unchanged",
                    "the certificate's files are the same"
                );
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::error!(
                    event_type = "tls.reload_failed",
                    "the old certificate is served on: {error}"
                );
            }
            Err(error) => tracing::error!(event_type = "tls.reload_failed", "{error}"),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// What the two files hold.
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
