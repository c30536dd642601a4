use mlsdm::testkit::{TestDatabase, run_mlsdm};

use crate::log::eventful;

#[test]
fn a_database_that_is_not_there_yet_is_not_made() {
    let database = TestDatabase::sqlite();
    let ran = run_mlsdm(database.url(), &["check"], &[]).exits(0);
    assert!(ran.stdout.contains("mlsdm serve"), "{ran:?}");
    assert!(std::fs::read_dir(database.folder().unwrap()).unwrap().next().is_none());
    // reading commands say so
    for arguments in [&["replay"][..], &["audit", "verify"]] {
        run_mlsdm(database.url(), arguments, &[]).exits(3);
    }
}

#[tokio::test]
async fn what_does_not_fit_fails_with_what_to_do() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let ran = run_mlsdm(database.url(), &["check", "--json"], &[]).exits(0);
    assert_eq!(ran.json()["failed"], 0);

    let other = [("MLSDM_CONTENT_KEY", &*"31".repeat(32))];
    let ran = run_mlsdm(database.url(), &["check"], &other).exits(1);
    assert!(ran.stdout.contains("fail"), "{ran:?}");
    assert!(ran.stdout.contains("MLSDM_CONTENT_KEY"), "{ran:?}");

    let ran = run_mlsdm(database.url(), &["check"], &[("MLSDM_DIM", "128")]).exits(1);
    assert!(ran.stdout.contains("MLSDM_DIM=384"), "{ran:?}");
    run_mlsdm(database.url(), &["check"], &[("API_PORT", "none")]).exits(2);

    // an embedder that is not there, and is not that of the engine either
    let minilm = [
        ("MLSDM__EMBEDDINGS__PROVIDER", "sentence-transformers"),
        ("MLSDM__EMBEDDINGS__PATH", "/nonexistent"),
    ];
    let ran = run_mlsdm(database.url(), &["check"], &minilm).exits(1);
    for word in ["embedder", "/nonexistent", "hashing 1", "minilm-l6-v2 1"] {
        assert!(ran.stdout.contains(word), "{ran:?}");
    }
    let ran = run_mlsdm(database.url(), &["serve"], &minilm).exits(2);
    assert!(ran.stderr.contains("/nonexistent"), "{ran:?}");
    let nobody = "postgres://nobody@127.0.0.1:9/nothing";
    let ran = run_mlsdm(nobody, &["check"], &[]).exits(3);
    assert!(ran.stdout.contains("fail"), "{ran:?}");
}
