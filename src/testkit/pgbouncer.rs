//! PgBouncer in transaction mode before a test database.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

use super::postgres::{as_server_user, free_port, give_away};

/// Longest wait until it takes connections.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs it until it ends or the test's process is gone (its end of the pipe closes). `$0` is
/// pgbouncer.
const WATCH: &str = "exec 3<&0; \"$0\" -q pgbouncer.ini & p=$!; (cat <&3; kill $p) & wait $p";

/// Ports can be taken between our look and the server's start.
const START_ATTEMPTS: u32 = 3;

/// A running PgBouncer; stopped when dropped.
pub struct PgBouncer {
    watch: Child,
    url: String,
    _folder: TempDir,
}

/// Starts a PgBouncer that leads to the database of `url`, with few enough server connections that
/// clients do change them.
pub fn pgbouncer(url: &str) -> PgBouncer {
    let database = PgConnectOptions::from_str(url).expect("a PostgreSQL URL");
    let name = database.get_database().expect("a database name");
    let folder = tempfile::tempdir().expect("a temporary folder");
    give_away(folder.path());
    for _ in 0..START_ATTEMPTS {
        let port = free_port();
        let settings = format!(
            "[databases]\n{name} = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 100\n\
             logfile = pgbouncer.log\n",
            database.get_port()
        );
        fs::write(folder.path().join("pgbouncer.ini"), settings).expect("its settings");
        if let Some(watch) = start(folder.path(), port) {
            let url = format!("postgres://postgres@127.0.0.1:{port}/{name}");
            return PgBouncer { watch, url, _folder: folder };
        }
    }
    let log = fs::read_to_string(folder.path().join("pgbouncer.log"));
    panic!("pgbouncer does not start: {}", log.unwrap_or_default());
}

/// Starts it and waits until it listens; `None` if it ended instead.
fn start(folder: &Path, port: u16) -> Option<Child> {
    let mut watch = as_server_user("sh", folder)
        .args(["-c", WATCH])
        .arg(program())
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh");
    let start = Instant::now();
    while start.elapsed() < START_TIMEOUT && watch.try_wait().is_ok_and(|end| end.is_none()) {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(watch);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(watch.stdin.take());
    watch.wait().ok();
    None
}

impl PgBouncer {
    /// Where to connect instead of to the database itself.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        self.watch.wait().ok();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("pgbouncer"))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("install pgbouncer (apt-get install pgbouncer)"))
}
