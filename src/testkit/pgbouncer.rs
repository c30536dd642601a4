//! PgBouncer in transaction mode before a test database.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is the report")]

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    str::FromStr,
};

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

use super::{
    eventually,
    postgres::{as_server_user, free_port, give_away},
};

/// Stops PgBouncer when the test process exits, which closes the pipe on stdin. `$0` is pgbouncer.
const WATCH: &str = "exec 3<&0; \"$0\" -q pgbouncer.ini & p=$!; (cat <&3; kill $p) & wait $p";

/// Another process may take the free port before PgBouncer binds it.
const START_ATTEMPTS: u32 = 3;

/// A running PgBouncer; stopped when dropped.
pub(super) struct PgBouncer {
    watch: Child,
    url: String,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one in front of the database at `url`. It has so few server connections that clients
    /// have to share them.
    pub(super) async fn start(url: &str) -> Self {
        let database = PgConnectOptions::from_str(url).expect("a PostgreSQL URL");
        let name = database.get_database().expect("a database name");
        let folder = tempfile::tempdir().expect("create a temporary folder");
        give_away(folder.path());
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            let settings = settings(name, database.get_port(), port);
            fs::write(folder.path().join("pgbouncer.ini"), settings).expect("write its settings");
            if let Some(watch) = spawn(folder.path(), port).await {
                let url = format!("postgres://postgres@127.0.0.1:{port}/{name}");
                return Self { watch, url, _folder: folder };
            }
        }
        let log = fs::read_to_string(folder.path().join("pgbouncer.log"));
        panic!("pgbouncer does not start: {}", log.unwrap_or_default());
    }

    /// The URL of the database through this PgBouncer.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        self.watch.wait().ok();
    }
}

fn settings(name: &str, database_port: u16, port: u16) -> String {
    format!(
        "[databases]\n{name} = host=127.0.0.1 port={database_port} user=postgres\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
         pool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 100\n\
         logfile = pgbouncer.log\n"
    )
}

/// Starts the process and waits until it accepts connections; `None` if it exits first.
async fn spawn(folder: &Path, port: u16) -> Option<Child> {
    let mut watch = as_server_user("sh", folder)
        .args(["-c", WATCH])
        .arg(program())
        .stdin(Stdio::piped())
        .spawn()
        .expect("start sh");
    let listens = eventually("the start of PgBouncer", async || {
        match (TcpStream::connect(("127.0.0.1", port)), watch.try_wait()) {
            (Ok(_), _) => Ok(true),
            (Err(error), Ok(None)) => Err(error),
            (Err(_), _) => Ok(false),
        }
    });
    if listens.await {
        return Some(watch);
    }
    drop(watch.stdin.take());
    watch.wait().ok();
    None
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("pgbouncer"))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("install pgbouncer (apt-get install pgbouncer)"))
}
