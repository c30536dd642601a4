//! The sentence transformer with its real weights: its vectors and its retrieval quality.
//!
//! `./.ci/test` downloads the weights; without them these tests fail with a message that says so.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod retrieval;
#[cfg(test)]
mod weights;
