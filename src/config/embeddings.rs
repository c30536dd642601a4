//! `embeddings`: the embedder, which turns texts into vectors.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::error::{Fault, check};
use crate::domain::{
    embedders,
    policy::{EmbedderId, Policy},
};

/// The kind of embedder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingsProvider {
    /// The built-in embedder, which hashes words.
    Hashing,
    /// The sentence transformer all-MiniLM-L6-v2 from local files.
    #[serde(alias = "sentence-transformers")]
    Minilm,
    /// A server with an `OpenAI` compatible API.
    Openai,
}

/// Accepted names of the model that `minilm` runs.
const MINILM_MODELS: [&str; 3] = ["", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"];

const MIB: usize = 1024 * 1024;

/// The embedder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embeddings {
    /// The kind of embedder.
    pub provider: EmbeddingsProvider,
    /// The model; required for `openai`.
    pub model: String,
    /// Directory with the model files, for `minilm`.
    pub path: PathBuf,
    /// URL of the API without `/embeddings`, for `openai`.
    pub base_url: String,
    api_key: SecretString,
    cache_mb: usize,
    timeout: u64,
}

impl Embeddings {
    /// The identity of the embedder, which engines created from this configuration record.
    pub fn embedder_id(&self) -> EmbedderId {
        let (id, version) = match self.provider {
            EmbeddingsProvider::Hashing => {
                (embedders::HASHING_ID.to_owned(), embedders::HASHING_VERSION)
            }
            EmbeddingsProvider::Minilm => {
                (embedders::MINILM_ID.to_owned(), embedders::MINILM_VERSION)
            }
            EmbeddingsProvider::Openai => {
                (embedders::openai_id(&self.model), embedders::OPENAI_VERSION)
            }
        };
        EmbedderId { id, version }
    }

    /// The API key, if one is given.
    pub fn api_key(&self) -> Option<&SecretString> {
        Some(&self.api_key).filter(|key| !key.expose_secret().is_empty())
    }

    /// Size of the vector cache in bytes; 0 disables it.
    pub const fn cache_bytes(&self) -> usize {
        self.cache_mb * MIB
    }

    /// Timeout of one call to the server.
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The keys that have no effect with this provider, and why.
    pub(super) const fn unused_keys(&self) -> &'static [(&'static str, &'static str)] {
        const NO_MODEL: &str = "the hashing embedder has no model";
        const NO_SERVER: &str = "only the embedder `openai` calls a server";
        match self.provider {
            EmbeddingsProvider::Hashing => &[
                ("embeddings.model", NO_MODEL),
                ("embeddings.path", NO_MODEL),
                ("embeddings.base_url", NO_SERVER),
                ("embeddings.api_key", NO_SERVER),
                ("embeddings.timeout", NO_SERVER),
                ("embeddings.cache_mb", "the hashing embedder is as fast as the cache"),
            ],
            EmbeddingsProvider::Minilm => &[
                ("embeddings.base_url", NO_SERVER),
                ("embeddings.api_key", NO_SERVER),
                ("embeddings.timeout", NO_SERVER),
            ],
            EmbeddingsProvider::Openai => {
                &[("embeddings.path", "only the embedder `minilm` reads model files")]
            }
        }
    }

    pub(super) fn validate(&self, policy: &Policy) -> Result<(), Fault> {
        check(self.cache_mb <= 65_536, "embeddings.cache_mb", "between 0 and 65536")?;
        let timeout = (1..=600).contains(&self.timeout);
        check(timeout, "embeddings.timeout", "between 1 and 600 seconds")?;
        let model = self.model.as_str();
        match self.provider {
            EmbeddingsProvider::Hashing => Ok(()),
            EmbeddingsProvider::Minilm => {
                let must = "all-MiniLM-L6-v2, the only model of embeddings.provider = minilm";
                check(MINILM_MODELS.contains(&model), "embeddings.model", must)?;
                let must = "a directory with all-MiniLM-L6-v2 when embeddings.provider is minilm";
                check(!self.path.as_os_str().is_empty(), "embeddings.path", must)?;
                let fits = policy.dimension == embedders::MINILM_DIMENSION;
                let must = "384 when embeddings.provider is minilm";
                check(fits, "mlsdm.policy.dimension", must)
            }
            EmbeddingsProvider::Openai => {
                let must = "a name of 1 to 200 characters, such as text-embedding-3-small, when \
                            embeddings.provider is openai";
                check((1..=200).contains(&model.chars().count()), "embeddings.model", must)?;
                let url = ["http://", "https://"].iter().any(|s| self.base_url.starts_with(s));
                let must = "a URL such as https://api.openai.com/v1, without /embeddings";
                check(url, "embeddings.base_url", must)
            }
        }
    }
}
