//! One node: etcd, Patroni and PostgreSQL in a network namespace, on a disk of their own.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{NODES, run, settings};
use crate::testkit::postgres::{binary, give_away};

/// The path of programs; Debian's python3 has the libraries of Patroni.
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// The size of a disk.
const DISK: &str = "size=400m";

pub(super) struct Node {
    folder: PathBuf,
    namespace: String,
    subnet: String,
    number: usize,
}

impl Node {
    /// Makes its namespace and its disk.
    pub(super) fn new(cluster: &Path, prefix: &str, subnet: &str, number: usize) -> Self {
        let folder = cluster.join(number.to_string());
        let namespace = format!("{prefix}-{number}");
        fs::create_dir(&folder).expect("a folder for the node");
        let disk = folder.display().to_string();
        run("mount", &["-t", "tmpfs", "-o", DISK, "tmpfs", &disk]);
        give_away(&folder);
        run("ip", &["netns", "add", &namespace]);
        let outside = &namespace;
        let pair = ["link", "add", outside, "type", "veth", "peer", "name", "eth0"];
        run("ip", &[&pair[..], &["netns", &namespace]].concat());
        run("ip", &["link", "set", outside, "master", prefix, "up"]);
        let node = Self { folder, namespace, subnet: subnet.to_owned(), number };
        let address = format!("{}/24", node.address());
        run("ip", &["-n", &node.namespace, "addr", "add", &address, "dev", "eth0"]);
        for device in ["eth0", "lo"] {
            run("ip", &["-n", &node.namespace, "link", "set", device, "up"]);
        }
        node.write_settings();
        node
    }

    pub(super) fn name(&self) -> String {
        name(self.number)
    }

    pub(super) fn address(&self) -> String {
        self.address_of(self.number)
    }

    fn address_of(&self, number: usize) -> String {
        format!("{}.{number}", self.subnet)
    }

    /// The URL of a resource of Patroni.
    pub(super) fn api(&self, path: &str) -> String {
        format!("http://{}:8008/{path}", self.address())
    }

    /// The file that fills the disk.
    pub(super) fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// The end of the log of Patroni.
    pub(super) fn log(&self) -> String {
        let text = fs::read_to_string(self.log_file("patroni")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        format!("--- {}\n{tail}\n", self.name())
    }

    /// Outside its disk, which may be full.
    fn log_file(&self, program: &str) -> PathBuf {
        self.folder.with_extension(program)
    }

    fn write_settings(&self) {
        let etcd = (1..=NODES).map(|number| format!("\"{}:2379\"", self.address_of(number)));
        // of all programs that Patroni runs, Debian has only this one nowhere else
        let programs = binary("pg_rewind");
        let programs = programs.parent().expect("a folder").display().to_string();
        let text = settings::patroni(
            &self.name(),
            &self.address(),
            &etcd.collect::<Vec<_>>().join(", "),
            &self.folder.display().to_string(),
            &programs,
        );
        fs::write(self.folder.join("patroni.yml"), text).expect("the settings of Patroni");
    }

    /// Starts etcd and Patroni, which starts PostgreSQL.
    pub(super) fn start(&self) {
        let url = |port: u16| format!("http://{}:{port}", self.address());
        let peers = (1..=NODES)
            .map(|number| format!("{}=http://{}:2380", name(number), self.address_of(number)));
        let etcd = [
            ("--name", self.name()),
            ("--data-dir", self.folder.join("etcd").display().to_string()),
            ("--listen-client-urls", url(2379)),
            ("--advertise-client-urls", url(2379)),
            ("--listen-peer-urls", url(2380)),
            ("--initial-advertise-peer-urls", url(2380)),
            ("--initial-cluster", peers.collect::<Vec<_>>().join(",")),
            // a member that returns does not force an election
            ("--pre-vote", "true".to_owned()),
        ];
        let etcd: Vec<String> =
            etcd.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.spawn("etcd", "etcd", &etcd);
        let settings = self.folder.join("patroni.yml").display().to_string();
        self.spawn("patroni", "python3", &["-m".to_owned(), "patroni".to_owned(), settings]);
    }

    fn spawn(&self, name: &str, program: &str, arguments: &[String]) {
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).open(self.log_file(name)).expect("a log");
        let user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"];
        // a parent that exits at once leaves the program to init, so that a killed one is not a zombie
        let started = Command::new("setsid")
            .args(["--fork", "ip", "netns", "exec", &self.namespace])
            .args(user)
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.folder)
            .env("PYTHONPATH", self.folder.with_file_name("patroni"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .status();
        assert!(
            started.is_ok_and(|status| status.success()),
            "apt-get install patroni etcd-server"
        );
    }

    /// Sends a signal to all processes of the node.
    pub(super) fn signal(&self, signal: &str) {
        let line =
            format!("ip netns pids {} | xargs --no-run-if-empty kill -{signal}", self.namespace);
        run("sh", &["-c", &line]);
    }

    /// Sets its link to the others `up` or `down`.
    pub(super) fn link(&self, state: &str) {
        run("ip", &["link", "set", &self.namespace, state]);
    }
}

fn name(number: usize) -> String {
    format!("node{number}")
}
