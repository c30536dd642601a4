//! Debian's registry of images.

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mlsdm::testkit::{DEADLINE, free_port};
use tempfile::TempDir;

/// A registry on this machine, without TLS. It ends with this value.
pub(super) struct Registry {
    address: String,
    child: Child,
    _folder: TempDir,
}

impl Registry {
    pub(super) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let storage = folder.path().display();
        let settings = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n\
             http: {{addr: \"{address}\"}}\n"
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, settings).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry: {error}; apt-get install it"));
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Self { address, child, _folder: folder }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
