//! The program podman with a storage and settings of its own.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::ErrorKind,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use mlsdm::testkit::CommandOutput;

use crate::path;

/// Settings for a machine without systemd. The limits are below those of processes that an
/// unprivileged machine allows.
const SETTINGS: &str = "\
[containers]
default_ulimits = [\"nofile=16384:16384\", \"nproc=8192:8192\"]
log_driver = \"k8s-file\"
[engine]
runtime = \"runc\"
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
lock_type = \"file\"
[network]
network_backend = \"netavark\"
";

/// Folders of one checkout.
struct Place {
    /// Images and containers.
    storage: PathBuf,
    /// Sockets and locks, whose paths have to be short.
    run: PathBuf,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let storage = path("target/ci/containers");
        let mut hasher = DefaultHasher::new();
        storage.hash(&mut hasher);
        let run = PathBuf::from(format!("/run/mlsdm-{:016x}", hasher.finish()));
        fs::create_dir_all(&storage).unwrap();
        fs::create_dir_all(&run)
            .unwrap_or_else(|error| panic!("{}: {error}; containers need root", run.display()));
        fs::write(storage.join("containers.conf"), SETTINGS).unwrap();
        Place { storage, run }
    })
}

/// A command of podman.
pub(crate) fn command() -> Command {
    let place = place();
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", place.storage.join("containers.conf"));
    command.arg("--root").arg(place.storage.join("storage"));
    command.arg("--network-config-dir").arg(place.storage.join("networks"));
    command.arg("--runroot").arg(place.run.join("run"));
    command.arg("--tmpdir").arg(place.run.join("tmp"));
    command
}

/// Runs podman to its end.
pub(crate) fn try_podman(arguments: &[&str]) -> CommandOutput {
    let output = command().args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        assert_eq!(error.kind(), ErrorKind::NotFound, "podman: {error}");
        panic!(
            "podman is missing: apt-get install podman buildah runc netavark aardvark-dns iptables"
        )
    });
    output.into()
}

/// Runs podman, which has to succeed; gives standard output.
#[track_caller]
pub(crate) fn podman(arguments: &[&str]) -> String {
    let output = try_podman(arguments);
    assert_eq!(output.code, 0, "podman {}\n{}", arguments.join(" "), output.stderr);
    output.stdout
}

/// The API of Docker, which podman serves on a socket; ended when dropped.
pub(crate) struct Service {
    child: Child,
    /// The value of `DOCKER_HOST`.
    pub(crate) host: String,
}

/// Starts the service. It also ends by itself when nobody has called it for ten minutes.
pub(crate) fn service() -> Service {
    let socket = place().run.join(format!("api-{}.sock", std::process::id()));
    drop(fs::remove_file(&socket));
    let host = format!("unix://{}", socket.display());
    let log = fs::File::create(place().storage.join("service.log")).unwrap();
    let child = command()
        .args(["system", "service", "--time", "600", &host])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Service { child, host }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_file(self.host.trim_start_matches("unix://")));
    }
}
