//! SQLite on a disk that fills up.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use mlsdm::testkit::{TestEnv, TestResponse, TestServer, eventually, send};

use crate::history::{History, equals_replay, verifies};

/// The size of the disk, as a mount option.
const DISK: &str = "size=8m";

/// Limit of a request. An ending that meets the full disk is repeated beyond it.
const LIMIT_SECONDS: u32 = 2;

/// More prompts than the disk can hold.
const PROMPTS_MAX: usize = 1_000;

/// Shell line that limits files to 8,192 blocks of 512 bytes; a larger write fails without a
/// signal. Only the soft limit is set, so that the test can lift it.
const SMALL_FILES: &str = "trap '' XFSZ; ulimit -S -f 8192; exec \"$@\"";

/// A disk that the test can fill: a small file system, or a limit of file sizes if mounting is not
/// permitted.
enum Disk {
    Mounted(TempDir),
    Limited(TempDir),
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if succeeds(
            Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder.path()),
        ) {
            Self::Mounted(folder)
        } else {
            Self::Limited(folder)
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Mounted(folder) | Self::Limited(folder) => folder.path(),
        }
    }

    fn env(&self) -> TestEnv {
        let database = format!("sqlite://{}", self.path().join("mlsdm.db").display());
        let env = TestEnv::new(&database).with("API_TIMEOUT", LIMIT_SECONDS);
        match self {
            Self::Mounted(_) => env,
            Self::Limited(_) => env.wrapped(SMALL_FILES),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills the file system.
    fn fill(&self) {
        if let Self::Mounted(_) = self {
            let mut file = File::create(self.ballast()).unwrap();
            while file.write_all(&[0; 4096]).is_ok() {}
        }
    }

    /// Makes space again.
    fn free(&self, server: &TestServer) {
        match self {
            Self::Mounted(_) => fs::remove_file(self.ballast()).unwrap(),
            Self::Limited(_) => {
                let process = server.id().to_string();
                let lifted = Command::new("prlimit")
                    .args(["--pid", &process, "--fsize=unlimited:unlimited"])
                    .status();
                assert!(lifted.unwrap().success());
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Mounted(folder) = self {
            succeeds(Command::new("umount").arg("--lazy").arg(folder.path()));
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Sends prompts until the disk is full; gives the positions of the answers and the refusal.
async fn until_full(server: &TestServer) -> (Vec<u64>, TestResponse) {
    let mut answered = Vec::new();
    for number in 0..PROMPTS_MAX {
        let prompt = format!("{number} ") + &"memorable ".repeat(900);
        let reply = send(server.ask("default", "ann", &prompt)).await.unwrap();
        match reply.status {
            200 => answered.push(reply.body["position"].as_u64().unwrap()),
            504 => {}
            _ => return (answered, reply),
        }
    }
    panic!("{PROMPTS_MAX} prompts did not fill the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_changes_nothing() {
    let disk = Disk::new();
    let env = disk.env();
    let server = env.serve().await;
    server.say("ann", "My dog is called Rex").await;
    disk.fill();
    let (answered, refusal) = until_full(&server).await;
    match &disk {
        Disk::Mounted(_) => refusal.is_problem(503, "E402"),
        // the operating system has a different error for a file that is too large
        Disk::Limited(_) => refusal.is_problem(503, refusal.body["code"].as_str().unwrap()),
    }
    // the server is alive, and its state does not change
    let before = server.state("default").await;
    for _ in 0..3 {
        let reply = send(server.ask("default", "ann", &"word ".repeat(1_900))).await.unwrap();
        assert_eq!(reply.status, 503, "{reply:?}");
    }
    let after = server.state("default").await;
    assert_eq!(after["state_digest"], before["state_digest"]);
    assert_eq!(send(server.get("/health/live")).await.unwrap().status, 200);
    if let Disk::Mounted(_) = &disk {
        becomes_ready(&server, false).await;
    }

    disk.free(&server);
    becomes_ready(&server, true).await;
    let answer = server.say("ann", "What is my dog called?").await;
    assert_eq!(answer["accepted"], true);
    let history = History::read(&server, "default").await;
    let completed = |position: &u64| history.at(*position)["type"] == "step.completed";
    assert!(answered.iter().all(completed), "{answered:?}");
    drop(history);
    closes_and_verifies(server, disk.env()).await;
}

async fn becomes_ready(server: &TestServer, is_ready: bool) {
    eventually(&format!("ready: {is_ready}"), async || {
        let probe = send(server.get("/health/ready")).await.unwrap();
        if (probe.status == 200) == is_ready { Ok(()) } else { Err(format!("{probe:?}")) }
    })
    .await;
}

/// The next start closes a step whose outcome could not be written.
async fn closes_and_verifies(server: TestServer, env: TestEnv) {
    server.stop().await;
    let server = env.serve().await;
    equals_replay(&server, &env, "default").await;
    History::read(&server, "default").await.is_whole();
    verifies(&env, "default").await;
    server.stop().await;
}
