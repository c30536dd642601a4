//! Retrieval quality: the fraction of questions whose fact is found, with the built-in embedder and
//! with the sentence transformer.

use mlsdm::{domain::vector::UnitVector, embed::Embedder};
use serde::Deserialize;

use crate::weights::{golden, minilm};

#[derive(Deserialize)]
struct Golden {
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    fact: String,
    question: String,
}

/// The number of questions whose fact is the nearest one, and among the nearest five.
#[derive(Debug)]
struct Recall {
    first: usize,
    five: usize,
}

async fn recall(embedder: &Embedder, pairs: &[Pair]) -> Recall {
    let facts: Vec<&str> = pairs.iter().map(|pair| pair.fact.as_str()).collect();
    let questions: Vec<&str> = pairs.iter().map(|pair| pair.question.as_str()).collect();
    let facts = embedder.embed_all(&facts).await.unwrap();
    let questions = embedder.embed_all(&questions).await.unwrap();
    let nearer = |(own, question): (usize, &UnitVector)| {
        let to_own = facts[own].dot(question);
        facts.iter().filter(|fact| fact.dot(question) > to_own).count()
    };
    let ranks: Vec<usize> = questions.iter().enumerate().map(nearer).collect();
    let within = |limit| ranks.iter().filter(|rank| **rank < limit).count();
    Recall { first: within(1), five: within(5) }
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the README's table contains these numbers")]
async fn the_transformer_finds_facts_that_the_built_in_embedder_misses() {
    let golden: Golden = serde_json::from_str(&golden("questions.json")).unwrap();
    let count = golden.pairs.len();
    assert!(count >= 30);
    let hashing = recall(&Embedder::default(), &golden.pairs).await;
    let minilm = recall(&minilm(), &golden.pairs).await;
    println!("{count} questions: hashing {hashing:?}, minilm {minilm:?}");
    assert!(minilm.first * 100 >= count * 80, "{minilm:?} of {count}");
    assert!(minilm.five * 100 >= count * 95, "{minilm:?} of {count}");
    assert!(minilm.first >= hashing.first * 2, "{minilm:?}, {hashing:?}");
    assert!(minilm.five > hashing.five, "{minilm:?}, {hashing:?}");
}
