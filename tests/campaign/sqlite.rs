//! `SQLite` on a disk that is full, and files that are removed, replaced or used twice.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use mlsdm::testkit::{TestDatabase, TestEnv};
use tempfile::TempDir;
use tokio::{process::Command, time::sleep};

use crate::{extended, report::Promise, run::Scenario};

/// A file system in memory of a fixed size.
struct Disk {
    folder: TempDir,
}

impl Disk {
    async fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(folder.path());
        assert!(command.status().await.unwrap().success(), "run as root: a disk is mounted");
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.path());
    }
}

/// Unmounts what is mounted here, if anything is.
fn unmount(path: &Path) {
    let mut command = std::process::Command::new("umount");
    drop(command.arg("--lazy").arg(path).stderr(Stdio::null()).status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_missed_as_long_as_it_is_full() {
    let disk = Disk::new("size=100m").await;
    let url = format!("sqlite://{}", disk.path().join("mlsdm.db").display());
    let mut run = Scenario::new("Disk full (SQLite), 5 s", &url).replicas(1).start().await;
    for _ in 0..if extended() { 3 } else { 1 } {
        run.fault(async |_| {
            disk.fill();
            sleep(Duration::from_secs(5)).await;
            disk.free();
        })
        .await;
    }
    run.finish().await.keeps(Promise::TOLD);
}

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

    /// A second server on the file of a running one, under another name.
    async fn second_server(name: &'static str, gives_name: impl AsyncFnOnce(&Path, &Path)) {
        let database = TestDatabase::sqlite();
        let folder = tempfile::tempdir().unwrap();
        let file = database.folder().unwrap().join("mlsdm.db");
        let other = folder.path().join("other.db");
        let mut run = Scenario::new(name, database.url()).replicas(1).start().await;
        run.fault(async |_| {
            gives_name(&file, &other).await;
            let second = TestEnv::new(&format!("sqlite://{}", other.display()));
            let status = second.start().exit().await;
            assert_eq!(status.code(), Some(1));
        })
        .await;
        unmount(&other);
        run.finish().await.keeps(Promise::STANDARD);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_server_by_a_hard_link_does_not_start() {
        second_server("Second server by a hard link", async |file, other| {
            fs::hard_link(file, other).unwrap();
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_server_by_a_bind_mount_does_not_start() {
        second_server("Second server by a bind mount", async |file, other| {
            File::create(other).unwrap();
            let mut command = Command::new("mount");
            command.arg("--bind").arg(file).arg(other);
            assert!(command.status().await.unwrap().success(), "run as root: a file is mounted");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_ends_while_its_disk_is_full_ends_in_time() {
        let disk = Disk::new("size=100m").await;
        let url = format!("sqlite://{}", disk.path().join("mlsdm.db").display());
        let scenario = Scenario::new("SIGTERM while the disk is full (SQLite)", &url);
        let mut run = scenario.replicas(1).start().await;
        run.fault(async |fleet| {
            disk.fill();
            sleep(Duration::from_secs(2)).await;
            fleet.terminate(0).await;
            disk.free();
            fleet.restart(0).await;
        })
        .await;
        run.finish().await.keeps(Promise::STANDARD);
    }
}
