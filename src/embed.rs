//! Embedders: from a text to a unit vector, so that near texts have a high cosine.
//!
//! An embedder has a name and a version, fixed for the life of an engine: vectors of two
//! embedders cannot be compared. What is remembered and found is not decided here.

pub mod hashing;

use crate::domain::vector::{UnitVector, VectorError};

/// The embedders there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedder {
    /// Hashed words and parts of words; needs no model. See [`hashing`].
    Hashing,
}

/// Why a text could not be embedded. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum EmbedError {
    /// The embedder gave numbers that are no direction.
    #[error("the embedder's vector cannot be used: {0}")]
    Vector(#[from] VectorError),
}

impl Embedder {
    /// The embedder's name, as in a policy.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Hashing => hashing::ID,
        }
    }

    /// The embedder's version.
    pub fn version(&self) -> u32 {
        match self {
            Self::Hashing => hashing::VERSION,
        }
    }

    /// The direction of a text.
    ///
    /// # Errors
    /// The embedder's numbers are no unit vector; the built-in one gives one for every text, in
    /// every dimension but 0.
    pub fn embed(&self, text: &str, dimension: usize) -> Result<UnitVector, EmbedError> {
        match self {
            Self::Hashing => {
                Ok(UnitVector::normalise(&hashing::embed(text, dimension), dimension)?)
            }
        }
    }
}
