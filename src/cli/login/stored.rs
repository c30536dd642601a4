//! The file with logins: `mlsdm/logins.json` below `XDG_CONFIG_HOME`, else below `~/.config`.
//!
//! Only its owner can read it. A new version is written beside the old one and renamed, under a lock, so that
//! concurrent commands neither read a partial file nor renew a login twice.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// Maximum size of the file in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A login. Does not implement `Debug`, because it contains secrets.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Login {
    /// The identity provider.
    pub(super) issuer: String,
    /// The client id at the identity provider.
    pub(super) client_id: String,
    /// The URL for renewals.
    pub(super) token_endpoint: String,
    /// The token for the server.
    pub(super) token: String,
    /// The refresh token, if there is one.
    pub(super) refresh_token: Option<String>,
    /// Expiry in seconds since the Unix epoch, if known.
    pub(super) expires_at: Option<i64>,
}

type ByServer = BTreeMap<String, Login>;

/// The file, locked until dropped.
pub(super) struct Logins {
    path: PathBuf,
    _lock: File,
}

impl Logins {
    /// Reads the logins without the lock.
    pub(super) fn read() -> anyhow::Result<ByServer> {
        // without a home directory there is no login
        path().map_or_else(|| Ok(ByServer::new()), |path| load(&path))
    }

    /// Waits for the lock.
    pub(super) async fn open() -> anyhow::Result<Self> {
        let path = path().context("set HOME or XDG_CONFIG_HOME: logins are stored there")?;
        let lock = path.with_extension("lock");
        let locked = tokio::task::spawn_blocking(move || locked(&lock)).await?;
        let lock = locked.with_context(|| failed(&path))?;
        Ok(Self { path, _lock: lock })
    }

    /// The login for a server.
    pub(super) fn get(&self, server: &str) -> anyhow::Result<Option<Login>> {
        Ok(load(&self.path)?.remove(server))
    }

    /// Stores the login for a server, or removes it. Returns true if there was one.
    pub(super) fn store(&self, server: &str, login: Option<Login>) -> anyhow::Result<bool> {
        let mut logins = load(&self.path)?;
        let known = match login {
            Some(login) => logins.insert(server.to_owned(), login),
            None => logins.remove(server),
        };
        let text = serde_json::to_vec_pretty(&logins)?;
        write(&self.path, &text).with_context(|| failed(&self.path))?;
        Ok(known.is_some())
    }
}

fn path() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || given("HOME").map(|home| Path::new(&home).join(".config"));
    let folder = given("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?;
    Some(folder.join("mlsdm/logins.json"))
}

fn failed(path: &Path) -> String {
    format!("cannot store logins in {}", path.display())
}

fn locked(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

fn load(path: &Path) -> anyhow::Result<ByServer> {
    let length = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ByServer::new()),
        Err(error) => return Err(error).with_context(|| failed(path)),
    };
    ensure!(length <= FILE_BYTES_MAX, "{}: more than {FILE_BYTES_MAX} bytes", path.display());
    let bytes = fs::read(path).with_context(|| failed(path))?;
    // the error of the JSON parser could contain a token
    let parsed = serde_json::from_slice(&bytes).ok();
    parsed.with_context(|| format!("{} is damaged; remove it and log in again", path.display()))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // a leftover file could have other permissions
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(new, path)
}
