//! `embeddings`: what makes prompts vectors.

use std::path::PathBuf;

use serde::Deserialize;

/// Who makes the vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingsProvider {
    /// The built-in embedder.
    Hashing,
    /// A sentence transformer from local files; not built yet.
    #[serde(alias = "sentence-transformers")]
    Minilm,
}

/// The embedder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embeddings {
    /// Who makes the vectors.
    pub provider: EmbeddingsProvider,
    /// Name of the model, for providers that have one.
    pub model: String,
    /// Folder of the model's files, for providers that need one.
    pub path: PathBuf,
}
