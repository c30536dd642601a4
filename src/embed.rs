//! Embedders map a text to a unit vector, such that similar texts have a high cosine similarity.
//!
//! An embedder has a name and a version, which are fixed for the life of an engine, because vectors
//! of different embedders cannot be compared. The built-in embedder ([`hashing`]) needs no model
//! and runs in place within microseconds. The others run a model or call a server: their
//! concurrency and queues are bounded, and a cache is in front of them. Not here: the storage and
//! retrieval of memory items.

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

/// The pending result of an embedding function.
pub type Embedding = Pin<Box<dyn Future<Output = Result<Vec<f32>, EmbedError>> + Send>>;

/// An embedding function supplied by the caller. Its vectors are normalised to length 1.
pub type Function = Arc<dyn Fn(String) -> Embedding + Send + Sync>;

/// An embedder. Clones share the model and the cache.
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

/// Name, version and dimension, as shown in errors and reports.
impl fmt::Display for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, dimension {}", self.id, self.version, self.dimension)
    }
}

/// The built-in embedder.
impl Default for Embedder {
    fn default() -> Self {
        Self::hashing(hashing::DIMENSION_DEFAULT)
    }
}

impl Embedder {
    /// The built-in embedder. It serves engines of any dimension; `dimension` is its default.
    pub fn hashing(dimension: usize) -> Self {
        Self::new(embedders::HASHING_ID, embedders::HASHING_VERSION, dimension, Model::Hashing)
    }

    /// The sentence transformer all-MiniLM-L6-v2, loaded from a folder with `model.safetensors`,
    /// `tokenizer.json` and `config.json`. Reads 90 MB and computes one vector, which takes about
    /// 300 ms.
    ///
    /// # Errors
    /// The program was built without the feature `minilm`, or the folder does not contain the
    /// model.
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

    /// A model of a server with the `OpenAI` API. Sends no request yet.
    ///
    /// # Errors
    /// The address is not a URL, or the key cannot be an HTTP header value.
    pub fn openai(settings: &OpenaiSettings) -> Result<Self, OpenError> {
        let id = embedders::openai_id(&settings.model);
        let model = Model::Openai(Openai::new(settings)?);
        Ok(Self::new(&id, embedders::OPENAI_VERSION, settings.dimension, model))
    }

    /// An embedding function of the embedding program. Its name or version must change whenever its
    /// vectors change: an engine refuses an embedder other than the one of its vectors.
    pub fn function(id: &str, version: u32, dimension: usize, function: Function) -> Self {
        Self::new(id, version, dimension, Model::Function(function))
    }

    fn new(id: &str, version: u32, dimension: usize, model: Model) -> Self {
        Self { id: id.into(), version, dimension, model, cache: None }
    }

    /// Adds a cache of `bytes` bytes; 0 disables it. The built-in embedder is never cached, because
    /// it is as fast as the cache.
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

    /// The dimension of its vectors.
    pub const fn dimension(&self) -> usize {
        self.dimension
    }

    /// The state of the circuit breaker, if the embedder calls a server.
    pub fn breaker(&self) -> Option<State> {
        match &self.model {
            Model::Openai(openai) => Some(openai.breaker()),
            #[cfg(feature = "minilm")]
            Model::Minilm(_) => None,
            Model::Hashing | Model::Function(_) => None,
        }
    }

    /// This embedder for an engine with `policy`; `None` if the engine's vectors are of a different
    /// embedder.
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

    /// Checks that a text can be embedded now: its vector is in the cache, or the model may be called.
    ///
    /// # Errors
    /// [`EmbedError::BreakerOpen`].
    pub fn check(&self, text: &str) -> Result<(), EmbedError> {
        let Model::Openai(openai) = &self.model else { return Ok(()) };
        let is_cached = self.cache.as_ref().is_some_and(|cache| cache.contains(text));
        if is_cached { Ok(()) } else { openai.check() }
    }

    /// Embeds a text.
    ///
    /// # Errors
    /// See [`EmbedError`]. The built-in embedder fails only for dimension 0.
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

    /// Embeds several texts, with fewer calls of a server than one by one. Returns all vectors in
    /// the order of the texts, or an error.
    pub async fn embed_all(&self, texts: &[&str]) -> Result<Vec<UnitVector>, EmbedError> {
        let made = |texts| self.model.call(texts, self.dimension);
        match &self.cache {
            Some(cache) => Box::pin(cache.get_all(texts, made)).await,
            None => Box::pin(made(texts.iter().map(|&text| text.to_owned()).collect())).await,
        }
    }

    /// Embeds one text without the cache, to check that the embedder works.
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
