//! `SQLite` files that are removed, replaced or used twice.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mlsdm::testkit::{TestDatabase, TestEnv};
use tokio::time::sleep;

use crate::{report::Promise, run::Scenario};

/// The time within which a server notices that its file is not what it was.
const NOTICED: Duration = Duration::from_secs(2);

/// A server whose files are changed below it answers no step and is not ready soon after.
async fn notices(change: impl FnOnce(&Path)) {
    let database = TestDatabase::sqlite();
    let file = database.folder().unwrap().join("mlsdm.db");
    let run = Scenario::new("", database.url()).replicas(1).start().await;
    change(&file);
    let changed = Instant::now();
    sleep(2 * NOTICED).await;
    let (calls, probes) = run.abort().await;
    let noticed = changed + NOTICED;
    let answered = calls.iter().filter(|call| call.receipt().is_some() && call.began > noticed);
    assert_eq!(answered.count(), 0, "answers that the next start does not have");
    assert!(calls.iter().any(|call| call.began > noticed), "there were calls");
    assert!(probes.iter().all(|probe| probe.began < noticed || !probe.ready), "it is not ready");
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_is_noticed() {
    notices(|file| fs::remove_file(file).unwrap()).await;
}

mod heavy {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_removed_file_with_its_journal_is_noticed() {
        notices(|file| {
            for suffix in ["", "-wal", "-shm"] {
                fs::remove_file(beside(file, suffix)).unwrap();
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_replaced_file_is_noticed() {
        notices(|file| {
            let copy = beside(file, ".copy");
            fs::copy(file, &copy).unwrap();
            fs::rename(copy, file).unwrap();
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_removed_journal_is_noticed() {
        notices(|file| fs::remove_file(beside(file, "-wal")).unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_server_by_another_name_of_the_file_does_not_start() {
        let database = TestDatabase::sqlite();
        let folder = tempfile::tempdir().unwrap();
        let file = database.folder().unwrap().join("mlsdm.db");
        let other = folder.path().join("other.db");
        let run = Scenario::new("Second server by a hard link", database.url()).replicas(1);
        let mut run = run.start().await;
        run.fault(async |_| {
            fs::hard_link(&file, &other).unwrap();
            let second = TestEnv::new(&format!("sqlite://{}", other.display()));
            let status = second.start().exit().await;
            assert_eq!(status.code(), Some(1));
        })
        .await;
        run.finish().await.keeps(Promise::STANDARD);
    }
}
