//! Embedding: the built-in embedder, the sentence transformer, and the cache.

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::Context as _;

use super::{
    load,
    table::{Row, median},
};
use crate::embed::{Embedder, Function};

const TEXTS: usize = 200;
/// A short prompt.
const SHORT: &str = "What is the name of my dog, and how old is he now?";
/// Dimension and size in bytes of the measured cache.
const DIMENSION: usize = 384;
const CACHE: usize = 64 << 20;

/// `minilm` is the directory of the sentence transformer; none skips it.
pub(super) async fn run(minilm: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let hashing = Embedder::hashing(DIMENSION);
    let mut rows = Vec::new();
    let texts: Vec<String> = (0..TEXTS).map(|n| load::prompt(3, n)).collect();
    let built_in = each(&hashing, &texts).await? * 1_000.0;
    rows.push(Row::new("embed 500 bytes, hashing", built_in, "µs"));

    let instant: Function = Arc::new(|_| Box::pin(async { Ok(vec![1.0; DIMENSION]) }));
    let cached = Embedder::function("bench", 1, DIMENSION, instant).cached(CACHE);
    each(&cached, &texts).await?;
    rows.push(Row::new(
        "a hit in the cache of vectors",
        each(&cached, &texts).await? * 1_000.0,
        "µs",
    ));

    if let Some(folder) = minilm {
        let embedder = Embedder::minilm(folder).context("the sentence transformer")?;
        let short: Vec<String> = (0..TEXTS / 4).map(|n| format!("{SHORT} {n}")).collect();
        rows.push(Row::new("embed a short prompt, minilm", each(&embedder, &short).await?, "ms"));
    }
    Ok(rows)
}

/// Median time to embed a text in milliseconds.
async fn each(embedder: &Embedder, texts: &[String]) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(texts.len());
    for text in texts {
        let started = Instant::now();
        embedder.embed(text).await?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(median(times))
}
