//! The text that checks an embedder.

/// A probe embeds this text; the embedder must return a vector of the right dimension.
pub(super) const PROBE: &str = "The quick brown fox jumps over the lazy dog.";
