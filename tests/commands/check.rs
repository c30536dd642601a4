use mlsdm::testkit::{TestDatabase, run_mlsdm};

use crate::log::eventful;

#[test]
fn a_check_does_not_create_the_database() {
    let database = TestDatabase::sqlite();
    let run = run_mlsdm(database.url(), &["check"], &[]).exits(0);
    assert!(run.stdout.contains("mlsdm serve"), "{run:?}");
    assert!(std::fs::read_dir(database.folder().unwrap()).unwrap().next().is_none());
    // commands that read fail
    for arguments in [&["replay"][..], &["audit", "verify"]] {
        run_mlsdm(database.url(), arguments, &[]).exits(3);
    }
}

#[tokio::test]
async fn a_mismatch_fails_with_the_remediation() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let run = run_mlsdm(database.url(), &["check", "--json"], &[]).exits(0);
    assert_eq!(run.json()["failed"], 0);

    let other = [("MLSDM_CONTENT_KEY", &*"31".repeat(32))];
    let run = run_mlsdm(database.url(), &["check"], &other).exits(1);
    assert!(run.stdout.contains("fail"), "{run:?}");
    assert!(run.stdout.contains("MLSDM_CONTENT_KEY"), "{run:?}");

    let run = run_mlsdm(database.url(), &["check"], &[("MLSDM_DIM", "128")]).exits(1);
    assert!(run.stdout.contains("MLSDM_DIM=384"), "{run:?}");
    run_mlsdm(database.url(), &["check"], &[("API_PORT", "none")]).exits(2);

    // an embedder whose files are missing and that is not the engine's
    let minilm = [
        ("MLSDM__EMBEDDINGS__PROVIDER", "sentence-transformers"),
        ("MLSDM__EMBEDDINGS__PATH", "/nonexistent"),
    ];
    let run = run_mlsdm(database.url(), &["check"], &minilm).exits(1);
    for word in ["embedder", "/nonexistent", "hashing 1", "minilm-l6-v2 1"] {
        assert!(run.stdout.contains(word), "{run:?}");
    }
    let run = run_mlsdm(database.url(), &["serve"], &minilm).exits(2);
    assert!(run.stderr.contains("/nonexistent"), "{run:?}");
    let nobody = "postgres://nobody@127.0.0.1:9/nothing";
    let run = run_mlsdm(nobody, &["check"], &[]).exits(3);
    assert!(run.stdout.contains("fail"), "{run:?}");
}

#[tokio::test]
async fn the_check_fails_where_the_server_refuses_the_tables() {
    const LATER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                         execution_time) VALUES (9, 'later', 1, x'00', 0)";
    for (change, said) in [
        (LATER, "run the newer version that made it"),
        ("UPDATE mlsdm_migrations SET checksum = x'00'", "differs from that of this version"),
    ] {
        let database = TestDatabase::sqlite();
        eventful(&database).await;
        database.execute(change).await.unwrap();
        for command in ["check", "serve"] {
            let run = run_mlsdm(database.url(), &[command], &[]).exits(1);
            let text = format!("{}{}", run.stdout, run.stderr);
            assert_eq!(text.matches(said).count(), 1, "{command}: {text}");
        }
    }
}
