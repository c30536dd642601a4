//! The certificate authorities that this process trusts as a client: of model providers, embedders, the
//! identity provider and the collector of traces.
//!
//! They are the bundled ones, those of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR` as with OpenSSL),
//! and those of `tls.extra_ca`. Like these variables, the last are a property of the process, and are
//! set once.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use reqwest::{Certificate, Client, ClientBuilder};

/// Largest file of authorities, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The authorities of `tls.extra_ca`.
static EXTRA: OnceLock<Vec<Certificate>> = OnceLock::new();

/// Why `tls.extra_ca` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; check tls.extra_ca", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file has no certificate.
    #[error("{} contains no certificate in PEM format; check tls.extra_ca", path.display())]
    Pem {
        /// Path of the file.
        path: PathBuf,
    },
}

/// Trusts the authorities in this file from now on. Only the first call of a process has an effect.
///
/// # Errors
/// [`TrustError`] if the file has no certificates.
pub fn extend(path: Option<&Path>) -> Result<(), TrustError> {
    let Some(path) = path else { return Ok(()) };
    let failed = |source| TrustError::File { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let found = Certificate::from_pem_bundle(&fs::read(path).map_err(failed)?);
    let found = found.ok().filter(|found| !found.is_empty());
    let found = found.ok_or_else(|| TrustError::Pem { path: path.to_owned() })?;
    EXTRA.get_or_init(|| found);
    Ok(())
}

/// A builder of an HTTP client that trusts all of them.
pub fn client() -> ClientBuilder {
    // an error means that this process has installed the same provider already
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let extra = EXTRA.get().into_iter().flatten();
    extra
        .fold(Client::builder(), |client, authority| client.add_root_certificate(authority.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let missing = extend(Some(&path)).unwrap_err().to_string();
        assert!(missing.contains("ca.pem") && missing.contains("tls.extra_ca"), "{missing}");
        fs::write(&path, "no certificate").unwrap();
        let empty = extend(Some(&path)).unwrap_err();
        assert!(matches!(empty, TrustError::Pem { .. }), "{empty}");
        assert!(extend(None).is_ok());
    }
}
