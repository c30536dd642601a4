//! A highly available PostgreSQL: three nodes with Patroni and etcd, and `HAProxy` before them.
//!
//! Each node has a network namespace and a disk of its own, so that a test can cut it off, pause it,
//! kill it or fill its disk. Replication is synchronous. Needs root, the Debian packages patroni,
//! etcd-server, haproxy and iproute2, and a newer Patroni, which `.ci/test --extended` fetches.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]

mod node;
mod settings;

use std::{
    fs::{self, File},
    io::Write as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    eventually, http_client_builder,
    postgres::{as_server_user, free_port, give_away},
};
use node::Node;

/// The number of nodes.
const NODES: usize = 3;
/// The timeout of a question to a node, which may be cut off.
const PROBE: Duration = Duration::from_millis(500);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Removes namespaces, processes and disks when the test process exits, which closes its stdin. `$0`
/// is the folder, `$1` the prefix of names.
const WATCH: &str = "cat
for node in 1 2 3; do
  for process in $(ip netns pids $1-$node); do kill -9 $process; done
  ip link del $1-$node; ip netns del $1-$node; umount -l $0/$node
done
kill $(cat $0/haproxy.pid); ip link del $1; rm -rf $0";

/// A running cluster; stopped when dropped.
pub struct HaCluster {
    nodes: Vec<Node>,
    port: u16,
    http: reqwest::Client,
    watch: Child,
    /// Removed by the watch, after the disks in it.
    folder: std::path::PathBuf,
}

impl HaCluster {
    /// Starts all nodes and waits until there is a primary with a synchronous standby.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().map(TempDir::keep).expect("a temporary folder");
        give_away(&folder);
        // a copy that the user `postgres` may read
        let copy = folder.join("patroni").display().to_string();
        run("cp", &["-r", concat!(env!("CARGO_MANIFEST_DIR"), "/target/ci/patroni"), &copy]);
        let process = std::process::id();
        // names of network interfaces have at most 15 characters
        let prefix = format!("ml{process}");
        let subnet = format!("10.231.{}", process % 250);
        run("ip", &["link", "add", &prefix, "type", "bridge"]);
        run("ip", &["addr", "add", &format!("{subnet}.254/24"), "dev", &prefix]);
        run("ip", &["link", "set", &prefix, "up"]);
        let watch = Command::new("sh")
            .args(["-c", WATCH])
            .arg(&folder)
            .arg(&prefix)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let nodes = (1..=NODES).map(|number| Node::new(&folder, &prefix, &subnet, number));
        let nodes: Vec<Node> = nodes.collect();
        for node in &nodes {
            node.start();
        }
        let http = http_client_builder().timeout(PROBE).build().expect("a client");
        let mut cluster = Self { nodes, port: free_port(), http, watch, folder };
        cluster.start_haproxy();
        cluster.until_synchronous().await;
        cluster
    }

    /// The URL of its database `postgres` through `HAProxy`, which leads to the primary.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The primary, if there is one that answers.
    pub async fn primary(&self) -> Option<usize> {
        for (index, node) in self.nodes.iter().enumerate() {
            if self.answers(node, "primary").await {
                return Some(index);
            }
        }
        None
    }

    /// Waits until there is a primary; gives it.
    pub async fn until_primary(&self) -> usize {
        self.until("a primary", async || self.primary().await).await
    }

    /// Waits until another node than this one is primary and has a synchronous standby, without which
    /// it commits nothing.
    pub async fn until_replaced(&self, old: usize) {
        self.until("another primary with a standby", async || {
            let primary = self.primary().await.filter(|primary| *primary != old)?;
            for node in &self.nodes {
                if self.answers(node, "synchronous").await {
                    return Some(primary);
                }
            }
            None
        })
        .await;
    }

    /// Waits until the primary has a synchronous standby, and all nodes run.
    pub async fn until_synchronous(&self) {
        self.until("a synchronous standby and three nodes", async || {
            let (mut standbys, mut running) = (0, 0);
            for node in &self.nodes {
                standbys += usize::from(self.answers(node, "synchronous").await);
                running += usize::from(self.answers(node, "health").await);
            }
            (standbys == 1 && running == NODES).then_some(())
        })
        .await;
    }

    /// Kills all processes of a node at once, as a loss of power does.
    pub fn kill(&self, node: usize) {
        self.nodes[node].signal("KILL");
    }

    /// Starts a node that was killed.
    pub fn start_node(&self, node: usize) {
        self.nodes[node].start();
    }

    /// Pauses all processes of a node.
    pub fn pause(&self, node: usize) {
        self.nodes[node].signal("STOP");
    }

    /// Lets a paused node continue.
    pub fn resume(&self, node: usize) {
        self.nodes[node].signal("CONT");
    }

    /// Cuts a node off from all others.
    pub fn cut_off(&self, node: usize) {
        self.nodes[node].link("down");
    }

    /// Connects a node again.
    pub fn connect(&self, node: usize) {
        self.nodes[node].link("up");
    }

    /// Fills the disk of a node.
    pub fn fill_disk(&self, node: usize) {
        let path = self.nodes[node].ballast();
        let mut file = File::create(path).expect("a file on the disk");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Makes space on the disk of a node again.
    pub fn free_disk(&self, node: usize) {
        fs::remove_file(self.nodes[node].ballast()).expect("the file that fills the disk");
    }

    /// Makes the synchronous standby the primary, as an administrator does.
    pub async fn switch_over(&self) {
        let old = self.until_primary().await;
        let leader = serde_json::json!({"leader": self.nodes[old].name()});
        let url = self.nodes[old].api("switchover");
        // the answer comes after the switch
        let sent = self.http.post(url).timeout(super::DEADLINE).json(&leader).send().await;
        let response = sent.expect("an answer of Patroni");
        assert!(response.status().is_success(), "{response:?}");
        self.until_replaced(old).await;
    }

    async fn answers(&self, node: &Node, path: &str) -> bool {
        let response = self.http.get(node.api(path)).send().await;
        response.is_ok_and(|response| response.status() == 200)
    }

    async fn until<T>(&self, what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
        eventually(what, async || {
            let value = found().await;
            if value.is_none() {
                sleep(PAUSE).await;
            }
            value.ok_or_else(|| self.nodes.iter().map(Node::log).collect::<String>())
        })
        .await
    }

    fn start_haproxy(&mut self) {
        let settings = settings::haproxy(self.port, &self.nodes);
        fs::write(self.folder.join("haproxy.cfg"), settings).expect("the settings of HAProxy");
        let haproxy = as_server_user("haproxy", &self.folder)
            .env("PATH", node::PATH)
            .args(["-f", "haproxy.cfg", "-D", "-p", "haproxy.pid"])
            .status();
        assert!(haproxy.is_ok_and(|status| status.success()), "apt-get install haproxy");
    }
}

impl Drop for HaCluster {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        self.watch.wait().ok();
    }
}

/// Runs a command that has to succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).env("PATH", node::PATH).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e} (apt-get install iproute2)"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "run as root: {program} {arguments:?}: {error}");
}
