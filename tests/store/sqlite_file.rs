//! The SQLite file: locking, read-only access, permissions and invalid URLs.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use mlsdm::{
    store::{Options, Store, StoreError},
    testkit::{TestDatabase, TestStore},
};

use crate::events::{append, content, create, engine, event};

#[tokio::test]
async fn a_file_is_open_for_writing_in_one_process() {
    let test = TestStore::sqlite().await;
    let second = Store::open(&test.options).await.err();
    assert!(matches!(second, Some(StoreError::Locked(_))), "{second:?}");
    test.store.close().await;
    let second = Store::open(&test.options).await.expect("the first store released the lock");
    create(&second, &engine("e")).await;
    second.close().await;
    let reader =
        Store::open_read_only(&test.options).await.expect("no process has it open for writing");
    assert_eq!(reader.head(&engine("e")).await.unwrap().position, 1);
}

#[tokio::test]
async fn a_second_name_of_the_file_is_the_same_database() {
    let test = TestStore::sqlite().await;
    let other = test.store.path().unwrap().with_file_name("other.db");
    fs::hard_link(test.store.path().unwrap(), &other).unwrap();
    let options = Options::new(format!("sqlite://{}", other.display()));
    let second = Store::open(&options).await.err();
    assert!(matches!(second, Some(StoreError::Locked(_))), "{second:?}");
    test.store.close().await;
    let second = Store::open(&options).await.expect("the first store released the lock");
    second.close().await;
}

#[tokio::test]
async fn no_write_goes_to_a_file_that_was_removed_or_replaced() {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let test = TestStore::sqlite().await;
        let (store, name) = (&test.store, engine("e"));
        create(store, &name).await;
        let mut path = store.path().unwrap().as_os_str().to_owned();
        path.push(suffix);
        let (path, away) = (PathBuf::from(path), store.path().unwrap().with_extension("away"));
        let refused = async |expected: &str| {
            let error = store.begin(&name).await.err();
            let Some(StoreError::FileChanged { path: changed, change }) = error else {
                panic!("{suffix}: {error:?}");
            };
            assert_eq!((changed.as_path(), change), (path.as_path(), expected));
            assert!(store.check_files().is_err(), "{suffix}");
        };
        fs::rename(&path, &away).unwrap();
        refused("was removed").await;
        fs::copy(&away, &path).unwrap();
        refused("was replaced").await;
        fs::rename(&away, &path).unwrap();
        append(store, &name, vec![(event("x", "{}"), content("text", None))]).await;
    }
}

#[tokio::test]
async fn a_checkpoint_keeps_the_files() {
    let test = TestStore::sqlite().await;
    create(&test.store, &engine("e")).await;
    test.store.truncate_wal().await.unwrap();
    assert_eq!(test.store.check_files(), Ok(()));
}

#[tokio::test]
async fn erased_bytes_are_in_no_file() {
    const WORDS: &str = "words that are erased";
    let test = TestStore::sqlite().await;
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    append(store, &name, vec![(event("x", "{}"), content(WORDS, None))]).await;
    let folder = store.path().unwrap().parent().unwrap();
    let found = || {
        let files = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()));
        let holds = |bytes: Vec<u8>| bytes.windows(WORDS.len()).any(|w| w == WORDS.as_bytes());
        files.flatten().any(holds)
    };
    assert!(found());
    let mut transaction = store.begin(&name).await.unwrap();
    transaction.delete_contents(&[2]).await.unwrap();
    transaction.commit().await.unwrap();
    store.truncate_wal().await.unwrap();
    assert!(!found());
}

#[tokio::test]
async fn the_file_is_accessible_by_its_owner_only() {
    let database = TestDatabase::sqlite();
    let folder = database.folder().unwrap().join("deep/er");
    let url = format!("sqlite://{}", folder.join("a.db").display());
    let store = Store::open(&Options::new(url)).await.unwrap();
    store.migrate().await.unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(store.path().unwrap(), folder.canonicalize().unwrap().join("a.db"));
}

#[tokio::test]
async fn the_error_of_an_invalid_url_names_valid_ones() {
    for url in ["", "mysql://x/y", "memory.db", "sqlite::memory:", "sqlite://x?mode=memory"] {
        let error = Store::open(&Options::new(url)).await.err().expect(url);
        assert!(matches!(error, StoreError::Url(_)), "{url}: {error}");
    }
    let database = TestDatabase::sqlite();
    let missing = Store::open_read_only(&Options::new(database.url())).await.err();
    assert!(matches!(missing, Some(StoreError::File { .. })), "{missing:?}");
    let file = database.folder().unwrap().join("mlsdm.db");
    fs::write(file, "this is not a database, but it is long enough to be read as one").unwrap();
    let error =
        Store::open(&Options::new(database.url())).await.err().expect("the file is not a database");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}
