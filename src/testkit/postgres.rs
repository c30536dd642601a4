//! PostgreSQL for tests: one cluster shared by all test processes of a run, or one of a test's own.
//!
//! The shared one lives in `target/testkit/postgres`. Every process that uses it holds a shared lock
//! on the file `users` while it lives; a detached janitor stops and removes the cluster when it can
//! take that lock alone. So nothing has to be started before or stopped after the tests.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]

use std::{
    fs::{self, File, OpenOptions},
    net::TcpListener,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

const INSTALL: &str = "install postgresql (apt-get install postgresql)";
/// Ports can be taken between our look and the server's start.
const START_ATTEMPTS: u32 = 3;

/// Stops and removes the shared cluster once no process uses it. `$0` is `pg_ctl`.
const JANITOR: &str = "exec 9>janitor 8<users; flock -n 9 || exit 0
while sleep 15; do
  if flock -n -x 8; then
    \"$0\" -D data -m immediate -w stop; rm -rf data port
    # before `users` is free again, so that its next holder can have a janitor
    flock -u 9; exit 0
  fi
done";

/// Stops a test's own cluster when the test's process is gone (its end of the pipe closes).
const WATCH: &str = "cat; test ! -e data/postmaster.pid || \"$0\" -D data -m immediate -w stop";

/// A PostgreSQL server with its data.
pub struct Cluster {
    folder: Folder,
    port: u16,
    /// Only beside a test's own cluster.
    watch: Option<Child>,
}

enum Folder {
    Shared(PathBuf),
    Own(TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Shared(path) => path,
            Self::Own(folder) => folder.path(),
        }
    }
}

/// A database within a cluster.
pub(super) struct Target {
    port: u16,
    name: String,
}

/// The cluster shared by all test processes.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<(Cluster, File)> = OnceLock::new();
    &SHARED.get_or_init(start_shared).0
}

/// A cluster that only this test uses, running; for tests that stop and start it.
pub fn own_cluster() -> Cluster {
    let folder = tempfile::Builder::new()
        .prefix("own-")
        .tempdir_in(base())
        .expect("a folder for the cluster");
    give_away(folder.path());
    let mut cluster = Cluster { folder: Folder::Own(folder), port: 0, watch: None };
    cluster.init();
    cluster.start_anywhere();
    let watch = as_server_user("sh", cluster.folder.path())
        .args(["-c", WATCH])
        .arg(binary("pg_ctl"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh");
    cluster.watch = Some(watch);
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
    let mut cluster = Cluster { folder: Folder::Shared(folder.clone()), port: 0, watch: None };
    let port = fs::read_to_string(folder.join("port")).ok().and_then(|text| text.parse().ok());
    match port {
        Some(port) if cluster.runs() => cluster.port = port,
        _ => {
            if folder.join("data").exists() {
                fs::remove_dir_all(folder.join("data")).expect("the old cluster goes");
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
    /// The port on 127.0.0.1; it stays the same over [`Cluster::stop`] and [`Cluster::start`].
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections and shuts down; returns when it is down.
    pub fn stop(&self) {
        self.control(&["-m", "fast", "-w", "stop"]).expect("pg_ctl stop");
    }

    /// Ends it as a crash would; returns when it is down.
    pub fn crash(&self) {
        self.control(&["-m", "immediate", "-w", "stop"]).expect("pg_ctl stop");
    }

    /// Starts it again; returns when it takes connections.
    pub fn start(&self) {
        self.try_start().expect("pg_ctl start");
    }

    pub(super) async fn create_database(&self) -> Target {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let target =
            Target { port: self.port, name: format!("test_{}_{number}", std::process::id()) };
        // a crashed process with our id may have left one
        target.execute("DROP DATABASE IF EXISTS").await.expect("DROP DATABASE");
        target.execute("CREATE DATABASE").await.expect("CREATE DATABASE");
        target
    }

    fn init(&self) {
        let done = as_server_user(binary("initdb"), self.folder.path())
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
        let status = as_server_user(binary("pg_ctl"), self.folder.path())
            .args(["-D", "data"])
            .args(arguments)
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
            // the watch stops the server when its input ends
            drop(watch.stdin.take());
            watch.wait().ok();
        }
    }
}

impl Target {
    pub(super) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, self.name)
    }

    async fn execute(&self, verb: &str) -> Result<(), sqlx::Error> {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        let mut conn: PgConnection = PgConnectOptions::from_str(&url)?.connect().await?;
        let force = if verb.starts_with("DROP") { " WITH (FORCE)" } else { "" };
        let statement = format!("{verb} {}{force}", self.name);
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut conn).await?;
        conn.close().await
    }

    /// Blocking, on a thread and a runtime of its own: a drop can happen anywhere.
    pub(super) fn drop_database(&self) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                // a cluster that a test has stopped takes its databases with it
                runtime.expect("a runtime").block_on(self.execute("DROP DATABASE IF EXISTS")).ok();
            });
        });
    }
}

/// A port on 127.0.0.1 that is free now. Another process may take it before the caller binds it.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// The folder for clusters: within `target`, or, where root may enter it but the server's user may
/// not, within the temporary folder.
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

/// A PostgreSQL program, from PATH or from where Debian puts it.
fn binary(name: &str) -> PathBuf {
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

/// A command with nothing to read and nobody listening, run by a user who may run servers: both
/// PostgreSQL and PgBouncer refuse root.
pub(super) fn as_server_user(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Hands a file to the user that runs the server.
pub(super) fn give_away(path: &Path) {
    if let Some((user, group)) = server_user() {
        std::os::unix::fs::chown(path, Some(user), Some(group)).expect("chown as root");
    }
}

/// The user and group `postgres`, if we are root.
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
