use std::sync::Mutex;

use super::*;

fn policy(embedder: &Embedder, dimension: usize) -> Policy {
    let embedder = EmbedderId { id: embedder.id().to_owned(), version: embedder.version() };
    Policy { dimension, embedder, ..Policy::default() }
}

/// An embedder that returns the same vector for all texts and records the texts.
fn constant(values: &'static [f32], asked: &Arc<Mutex<Vec<String>>>) -> Embedder {
    let asked = Arc::clone(asked);
    let function: Function = Arc::new(move |text| {
        asked.lock().unwrap().push(text);
        Box::pin(async { Ok(values.to_vec()) })
    });
    Embedder::function("own", 3, 2, function)
}

#[tokio::test]
async fn the_built_in_embedder_serves_every_dimension() {
    let embedder = Embedder::hashing(384);
    assert_eq!(embedder.to_string(), "hashing 1, dimension 384");
    for dimension in [1, 7, 384, 4096] {
        let fitted = embedder.for_policy(&policy(&embedder, dimension)).unwrap();
        assert_eq!(fitted.dimension(), dimension);
        let vector = fitted.embed("My dog is called Rex").await.unwrap();
        assert_eq!(vector, hashing::vector("My dog is called Rex", dimension).unwrap());
        assert_eq!(fitted.embed_all(&["My dog is called Rex"]).await.unwrap(), [vector]);
    }
}

#[tokio::test]
async fn other_embedders_serve_only_engines_of_their_name_version_and_dimension() {
    let embedder = constant(&[3.0, 4.0], &Arc::default());
    assert!(embedder.for_policy(&policy(&embedder, 2)).is_some());
    assert!(embedder.for_policy(&policy(&embedder, 3)).is_none());
    assert!(embedder.for_policy(&Policy { dimension: 2, ..Policy::default() }).is_none());
    let mut newer = policy(&embedder, 2);
    newer.embedder.version += 1;
    assert!(embedder.for_policy(&newer).is_none());
}

#[tokio::test]
async fn the_vector_of_a_function_is_checked_and_normalised() {
    let asked = Arc::default();
    let vector = constant(&[3.0, 4.0], &asked).embed("a").await.unwrap();
    assert_eq!(vector.as_slice(), [0.6, 0.8]);
    let cases: [(&'static [f32], &str); 4] = [
        (&[1.0], "dimension"),
        (&[1.0, f32::NAN], "not_finite"),
        (&[f32::INFINITY, 1.0], "not_finite"),
        (&[0.0, 0.0], "no_vector"),
    ];
    for (values, code) in cases {
        let error = constant(values, &asked).cached(1 << 20).embed("a").await.unwrap_err();
        assert_eq!(error.code(), code);
    }
}

#[tokio::test]
async fn a_failure_of_a_function_is_reported_and_not_cached() {
    let function: Function =
        Arc::new(|_| Box::pin(async { Err(EmbedError::Unavailable { code: "on_strike" }) }));
    let embedder = Embedder::function("own", 1, 2, function).cached(1 << 20);
    for _ in 0..2 {
        assert_eq!(embedder.embed("a").await.unwrap_err().code(), "on_strike");
    }
}

#[tokio::test]
async fn a_cached_text_is_embedded_again_only_by_a_probe() {
    let asked = Arc::default();
    let embedder = constant(&[3.0, 4.0], &asked).cached(1 << 20);
    embedder.embed("a").await.unwrap();
    embedder.embed("a").await.unwrap();
    let all = embedder.embed_all(&["b", "a", "b", "c"]).await.unwrap();
    assert_eq!(all.len(), 4);
    embedder.clone().embed("c").await.unwrap();
    assert_eq!(*asked.lock().unwrap(), ["a", "b", "c"]);
    embedder.probe().await.unwrap();
    embedder.probe().await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 5);
    let without = constant(&[3.0, 4.0], &asked).cached(0);
    without.embed("d").await.unwrap();
    without.embed("d").await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 7);
}
