//! `mlsdm backup`: a copy of a SQLite database that a server is writing to.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use mlsdm::testkit::{TestDatabase, TestEnv};

use crate::{
    history::{equals_replay, verifies},
    load::{Load, seed},
};

/// Copies that are made while clients write.
const COPIES: u64 = 3;
/// Answers between two copies.
const ANSWERS: u64 = 40;

fn sqlite(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_backup_under_load_is_a_whole_log_that_a_server_continues() {
    let database = TestDatabase::sqlite();
    // the key lies beside the database
    let env = TestEnv::new(database.url()).without("MLSDM_CONTENT_KEY");
    let folder = tempfile::tempdir().unwrap();
    let server = env.serve().await;
    let load = Load::start(&[&server], 8, u64::MAX, seed());
    let mut copies = Vec::new();
    for number in 1..=COPIES {
        load.until(|counts| counts.answered >= number * ANSWERS).await;
        let before = server.head().await;
        let copy = folder.path().join(format!("copy {number}%.db"));
        let made = ["backup", copy.to_str().unwrap(), "--with-key", "--json"];
        let made = env.run(&made).await.exits(0).json();
        copies.push((copy, before, made));
    }
    let sent = load.stop().await;
    server.stop().await;
    assert!(sent.iter().all(|one| one.answer().is_some()), "no request failed meanwhile");

    for (copy, before, made) in &copies {
        let engines = made["engines"].as_array().unwrap();
        let head = engines.iter().find(|head| head["engine"] == "default").unwrap();
        let position = head["position"].as_u64().unwrap();
        assert!(position >= *before, "what was answered before the backup is in it: {made}");
        let key = copy.with_extension("key");
        assert_eq!((mode(copy), mode(&key)), (0o600, 0o600));
        assert_eq!(made["bytes"], fs::metadata(copy).unwrap().len());
        assert!(!copy.with_extension("db.partial").exists());
        let restored = env.clone().with("DATABASE_URL", sqlite(copy).replace('%', "%25"));
        restored.run(&["audit", "verify", "--require", "authenticity"]).await.exits(0);
        verifies(&restored, "default").await;
        let replay = restored.run(&["replay", "--engine", "default", "--json"]).await.exits(0);
        assert_eq!(replay.json()["chain_hash"], head["chain_hash"]);
    }
    let (copy, _, made) = &copies[0];
    let restored = env.with("DATABASE_URL", sqlite(copy).replace('%', "%25"));
    let server = restored.serve().await;
    equals_replay(&server, &restored, "default").await;
    server.say("ann", "a prompt after the restore").await;
    let engines = made["engines"].as_array().unwrap();
    let head = engines.iter().find(|head| head["engine"] == "default").unwrap();
    assert!(server.head().await > head["position"].as_u64().unwrap());
    server.stop().await;
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_names_the_remedy() {
    let database = TestDatabase::sqlite();
    let env = TestEnv::new(database.url());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy.db");
    let name = file.to_str().unwrap();
    let unreachable = env.run(&["backup", name]).await.exits(3);
    assert!(unreachable.stderr.contains("cannot open"), "{unreachable:?}");
    env.serve().await.stop().await;

    let configured = env.run(&["backup", name, "--with-key"]).await.exits(2);
    assert!(configured.stderr.contains("MLSDM_CONTENT_KEY"), "{configured:?}");
    assert!(!file.exists());
    let made = env.run(&["backup", name]).await.exits(0);
    assert!(made.stdout.contains("content key: not copied"), "{made:?}");
    assert!(!file.with_extension("key").exists());
    let bytes = fs::read(&file).unwrap();
    let again = env.run(&["backup", name]).await.exits(1);
    assert!(again.stderr.contains("exists already"), "{again:?}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "the first copy is unchanged");

    let free = folder.path().join("free.db");
    fs::write(free.with_extension("key"), "kept").unwrap();
    let unconfigured = env.clone().without("MLSDM_CONTENT_KEY");
    let missing = folder.path().join("other.db");
    let missing = unconfigured.run(&["backup", missing.to_str().unwrap(), "--with-key"]).await;
    assert!(missing.exits(1).stderr.contains("cannot read the content key"), "it is configured");
    let source = database.url().strip_prefix("sqlite://").unwrap();
    let source_key = Path::new(source).with_extension("key");
    fs::write(&source_key, "its key").unwrap();
    let beside = source_key.with_extension("bak");
    let beside = unconfigured.run(&["backup", beside.to_str().unwrap(), "--with-key"]).await;
    let beside = beside.exits(1).stderr;
    assert!(beside.contains("is the key of the database in use"), "{beside}");
    assert!(!beside.contains("remove"), "{beside}");
    let key = unconfigured.run(&["backup", free.to_str().unwrap(), "--with-key"]).await.exits(1);
    assert!(key.stderr.contains("free.key exists already"), "{key:?}");
    let nowhere = env.run(&["backup", "/no/such/folder/copy.db"]).await.exits(1);
    assert!(nowhere.stderr.contains("cannot write /no/such/folder/copy.db"), "{nowhere:?}");
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing unfinished is left: {left:?}");

    let postgres = TestDatabase::postgres().await;
    let postgres = TestEnv::new(postgres.url()).run(&["backup", name]).await.exits(2);
    assert!(postgres.stderr.contains("pgBackRest or pg_dump"), "{postgres:?}");
}
