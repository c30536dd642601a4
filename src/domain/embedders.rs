//! Names, versions and dimensions of the known embedders, as a policy records them.
//!
//! They are part of the domain because the configuration and the embedders themselves both need
//! them. The embedders are in `embed`.

/// The name of the built-in embedder.
pub const HASHING_ID: &str = "hashing";

/// The version of the built-in embedder; raised whenever any text gets a different vector.
pub const HASHING_VERSION: u32 = 1;

/// The name of the sentence transformer all-MiniLM-L6-v2.
pub const MINILM_ID: &str = "minilm-l6-v2";

/// The version of the sentence transformer.
pub const MINILM_VERSION: u32 = 1;

/// The dimension of the sentence transformer's vectors.
pub const MINILM_DIMENSION: usize = 384;

/// The version of all embedders reached by the `OpenAI` API.
pub const OPENAI_VERSION: u32 = 1;

/// The name of an embedder reached by the `OpenAI` API.
pub fn openai_id(model: &str) -> String {
    format!("openai:{model}")
}
