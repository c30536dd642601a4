//! The error of [`server`](super).

use crate::tls::TlsError;

/// Why a server cannot listen or stops serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address of the API is not available.
    #[error(
        "cannot listen on {address}: {source}; choose another API_PORT or stop the process that \
         uses it"
    )]
    Listen {
        /// Address and port from the configuration.
        address: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The address of the metrics is not available.
    #[error(
        "cannot serve metrics on {address}: {source}; choose another METRICS_PORT, or set \
         METRICS_ENABLED=false"
    )]
    ListenMetrics {
        /// Address and port from the configuration.
        address: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
