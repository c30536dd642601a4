//! Embedders: from a text to a unit vector, so that near texts have a high cosine.
//!
//! An embedder has a name and a version, fixed for the life of an engine: vectors of two embedders
//! cannot be compared. The built-in one ([`hashing`]) needs no model and is computed in place, in
//! microseconds. The others run a model or call a server: they are bounded in what runs and waits at
//! once, and a cache stands in front of them. What is remembered and found is not decided here.

mod cache;
mod error;
mod gate;
pub mod hashing;
pub mod metrics;
#[cfg(feature = "minilm")]
mod minilm;
mod openai;
mod probe;

use std::{fmt, future::Future, path::Path, pin::Pin, sync::Arc};

pub use error::{EmbedError, OpenError};
pub use metrics::CacheMetrics;
pub use openai::Settings as OpenaiSettings;

use crate::{
    breaker::State,
    domain::{
        embedders,
        policy::{EmbedderId, Policy},
        vector::UnitVector,
    },
};
use cache::Cache;
#[cfg(feature = "minilm")]
use minilm::Minilm;
use openai::Openai;
use probe::PROBE;

/// Numbers on their way.
pub type Embedding = Pin<Box<dyn Future<Output = Result<Vec<f32>, EmbedError>> + Send>>;

/// An embedder of the caller's own. Its numbers need not be of length 1.
pub type Function = Arc<dyn Fn(String) -> Embedding + Send + Sync>;

/// An embedder; a clone is the same one, cache included.
#[derive(Clone)]
pub struct Embedder {
    id: Arc<str>,
    version: u32,
    dimension: usize,
    model: Model,
    cache: Option<Cache>,
}

#[derive(Clone)]
enum Model {
    Hashing,
    #[cfg(feature = "minilm")]
    Minilm(Minilm),
    Openai(Openai),
    Function(Function),
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedder({self})")
    }
}

/// Name, version and dimension, as errors and reports show them.
impl fmt::Display for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, dimension {}", self.id, self.version, self.dimension)
    }
}

/// The built-in one.
impl Default for Embedder {
    fn default() -> Self {
        Self::hashing(hashing::DIMENSION_DEFAULT)
    }
}

impl Embedder {
    /// The built-in one; serves engines of every dimension, this is the one it has by itself.
    pub fn hashing(dimension: usize) -> Self {
        Self::new(embedders::HASHING_ID, embedders::HASHING_VERSION, dimension, Model::Hashing)
    }

    /// The sentence transformer all-MiniLM-L6-v2, from a folder with its `model.safetensors`,
    /// `tokenizer.json` and `config.json`. Reads 90 MB and computes one vector: some 300 ms.
    ///
    /// # Errors
    /// The program was built without it, or the folder does not hold that model.
    pub fn minilm(folder: &Path) -> Result<Self, OpenError> {
        #[cfg(feature = "minilm")]
        {
            let model = Model::Minilm(Minilm::load(folder)?);
            Ok(Self::new(
                embedders::MINILM_ID,
                embedders::MINILM_VERSION,
                embedders::MINILM_DIMENSION,
                model,
            ))
        }
        #[cfg(not(feature = "minilm"))]
        Err(OpenError::NotBuilt { folder: folder.to_owned() })
    }

    /// A model of a server that speaks the `OpenAI` API. Nothing is sent yet.
    ///
    /// # Errors
    /// The address is none, or the key is not one that a header can hold.
    pub fn openai(settings: &OpenaiSettings) -> Result<Self, OpenError> {
        let id = embedders::openai_id(&settings.model);
        let model = Model::Openai(Openai::new(settings)?);
        Ok(Self::new(&id, embedders::OPENAI_VERSION, settings.dimension, model))
    }

    /// A function of the program this library is part of. Change its name or its version whenever
    /// its numbers change: engines refuse an embedder that is not the one of their vectors.
    pub fn function(id: &str, version: u32, dimension: usize, function: Function) -> Self {
        Self::new(id, version, dimension, Model::Function(function))
    }

    fn new(id: &str, version: u32, dimension: usize, model: Model) -> Self {
        Self { id: id.into(), version, dimension, model, cache: None }
    }

    /// The same with a cache of so many bytes; 0 is none. The built-in one is never cached: it is
    /// as fast as a cache.
    #[must_use]
    pub fn cached(mut self, bytes: usize) -> Self {
        let costly = !matches!(self.model, Model::Hashing);
        self.cache = costly.then(|| Cache::new(bytes, self.dimension)).flatten();
        self
    }

    /// The embedder's name, as in a policy.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The embedder's version.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The components of its vectors.
    pub const fn dimension(&self) -> usize {
        self.dimension
    }

    /// The circuit breaker of the server it asks, if it asks one.
    pub fn breaker(&self) -> Option<State> {
        match &self.model {
            Model::Openai(openai) => Some(openai.breaker()),
            #[cfg(feature = "minilm")]
            Model::Minilm(_) => None,
            Model::Hashing | Model::Function(_) => None,
        }
    }

    /// This embedder for an engine of a policy, if it is the one whose vectors the engine holds.
    #[must_use]
    pub fn for_policy(&self, policy: &Policy) -> Option<Self> {
        let EmbedderId { id, version } = &policy.embedder;
        let free = matches!(self.model, Model::Hashing);
        let same = (&*self.id, self.version) == (id.as_str(), *version);
        let fits = free || self.dimension == policy.dimension;
        (same && fits).then(|| Self { dimension: policy.dimension, ..self.clone() })
    }

    /// Lookups in the cache; without a cache they stay 0.
    pub fn cache_metrics(&self) -> CacheMetrics {
        self.cache.as_ref().map(Cache::metrics).unwrap_or_default()
    }

    /// The direction of a text.
    ///
    /// # Errors
    /// See [`EmbedError`]. The built-in one gives a vector for every text, in every dimension but 0.
    pub async fn embed(&self, text: &str) -> Result<UnitVector, EmbedError> {
        if matches!(self.model, Model::Hashing) {
            return Ok(hashing::vector(text, self.dimension)?);
        }
        let (model, dimension) = (self.model.clone(), self.dimension);
        let made = move |text| async move {
            let vectors = model.call(vec![text], dimension).await?;
            vectors.into_iter().next().ok_or(EmbedError::Malformed { what: "no vector" })
        };
        match &self.cache {
            Some(cache) => cache.get(text, made).await,
            None => Box::pin(made(text.to_owned())).await,
        }
    }

    /// The directions of texts, in their order: fewer calls than one by one where a server or a
    /// cache is asked. All or nothing.
    ///
    /// # Errors
    /// That of the first text, or batch of texts, that failed.
    pub async fn embed_all(&self, texts: &[&str]) -> Result<Vec<UnitVector>, EmbedError> {
        let made = |texts| self.model.call(texts, self.dimension);
        match &self.cache {
            Some(cache) => Box::pin(cache.get_all(texts, made)).await,
            None => Box::pin(made(texts.iter().map(|&text| text.to_owned()).collect())).await,
        }
    }

    /// Embeds one text past the cache, to see whether it can be done.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub async fn probe(&self) -> Result<(), EmbedError> {
        Box::pin(self.model.call(vec![PROBE.to_owned()], self.dimension)).await.map(drop)
    }
}

impl Model {
    async fn call(
        &self,
        texts: Vec<String>,
        dimension: usize,
    ) -> Result<Vec<UnitVector>, EmbedError> {
        match self {
            Self::Hashing => {
                texts.iter().map(|text| Ok(hashing::vector(text, dimension)?)).collect()
            }
            #[cfg(feature = "minilm")]
            Self::Minilm(minilm) => minilm.call(texts).await,
            Self::Openai(openai) => openai.call(&texts).await,
            Self::Function(function) => {
                let mut vectors = Vec::with_capacity(texts.len());
                for text in texts {
                    let values = function(text).await?;
                    vectors.push(UnitVector::normalise(&values, dimension)?);
                }
                Ok(vectors)
            }
        }
    }
}

#[cfg(test)]
mod tests;
