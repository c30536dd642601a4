//! The location of the weights.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mlsdm::embed::Embedder;

/// The folder into which `./.ci/test` downloads the model.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/all-MiniLM-L6-v2")
}

/// The sentence transformer.
pub(crate) fn minilm() -> Embedder {
    Embedder::minilm(&folder()).unwrap_or_else(|error| {
        panic!("{error}\nrun ./.ci/test once: it puts the model into {}", folder().display())
    })
}

/// Reads a file of `tests/golden`.
pub(crate) fn golden(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    fs::read_to_string(file).unwrap()
}
