//! The sentence transformer with its real weights: the right vectors, and what they are good for.
//!
//! `./.ci/test` fetches the weights; a test without them fails and says so.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod retrieval;
#[cfg(test)]
mod weights;
