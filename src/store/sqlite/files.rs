//! The files of an open SQLite database: locks against a second server, and detection of files that
//! are removed or replaced while they are open.
//!
//! Two files are locked. The file `<database>.lock` stays the same if the database is replaced. The
//! database itself is locked because a hard link or a bind mount gives it a second name, beside which
//! lies another lock file. SQLite uses locks of another kind (`fcntl`), so these (`flock`) do not
//! block it.
//!
//! A process can go on writing to a file that was removed; those writes are lost when it stops. The
//! identity (device and inode) of each file is therefore compared before each write transaction, and
//! every half second in the background. SQLite removes the write-ahead log when its last connection
//! closes, so one idle connection stays open as long as the database.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Mutex;

use crate::store::{StoreError, error::classify};

/// The locked files of a database.
#[derive(Debug)]
pub(super) struct Locks {
    path: PathBuf,
    lock: File,
    database: File,
}

impl Locks {
    /// Creates the database file and its folder, accessible by their owner only, and locks it against
    /// other processes. SQLite's own locks would admit a second server between two transactions of the
    /// first.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| file_error(folder, &error))?;
        let path = resolve(path)?;
        // before the database: closing a file releases the locks that SQLite has on it in this process
        let lock = locked(&beside(&path, ".lock"), &path)?;
        let database = locked(&path, &path)?;
        Ok(Self { path, lock, database })
    }

    /// The absolute path of the database, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The files of a database that is open for writing.
pub(super) struct OpenFiles {
    locks: Locks,
    identities: Vec<(PathBuf, Identity)>,
    changed: AtomicBool,
    idle: Mutex<Option<SqliteConnection>>,
}

impl OpenFiles {
    /// Notes the identities of the files. The database must have a write-ahead log.
    pub(super) async fn open(
        locks: Locks,
        options: &SqliteConnectOptions,
    ) -> Result<Self, StoreError> {
        let mut idle = options.connect().await.map_err(classify)?;
        // the first read opens the write-ahead log
        sqlx::query("SELECT count(*) FROM sqlite_master")
            .execute(&mut idle)
            .await
            .map_err(classify)?;
        let files = [
            (locks.path.clone(), locks.database.metadata()),
            (beside(&locks.path, ".lock"), locks.lock.metadata()),
        ];
        let logs = ["-wal", "-shm"].map(|suffix| {
            let path = beside(&locks.path, suffix);
            let metadata = path.metadata();
            (path, metadata)
        });
        let identities = files
            .into_iter()
            .chain(logs)
            .map(|(path, metadata)| match metadata {
                Ok(metadata) => Ok((path, Identity::of(&metadata))),
                Err(error) => Err(file_error(&path, &error)),
            })
            .collect::<Result<_, _>>()?;
        let idle = Mutex::new(Some(idle));
        Ok(Self { locks, identities, changed: AtomicBool::new(false), idle })
    }

    /// The absolute path of the database, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        self.locks.path()
    }

    /// Fails if one of the files was removed or replaced since it was opened.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let changed = self.identities.iter().find_map(|(path, opened)| opened.change(path));
        let was_changed = self.changed.swap(changed.is_some(), Ordering::AcqRel);
        if let Some(error) = changed {
            if !was_changed {
                tracing::error!(
                    event_type = "store.file_changed",
                    %error,
                    "a file of the event log was removed or replaced"
                );
            }
            return Err(error);
        }
        if was_changed {
            tracing::info!(
                event_type = "store.file_restored",
                "the files of the event log are those that were opened"
            );
        }
        Ok(())
    }

    /// Closes the idle connection and releases the locks. The pools must be closed before.
    pub(super) async fn close(&self) {
        if let Some(idle) = self.idle.lock().await.take() {
            // the last connection: closing it checkpoints the write-ahead log
            idle.close().await.ok();
        }
        // an unlock fails only if the lock is already released
        self.locks.lock.unlock().ok();
        self.locks.database.unlock().ok();
    }
}

/// The identity of a file within this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// The error if `path` names another file, or none.
    fn change(self, path: &Path) -> Option<StoreError> {
        let change = match path.metadata() {
            Ok(metadata) if Self::of(&metadata) == self => return None,
            Ok(_) => "was replaced",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "was removed",
            Err(_) => "cannot be inspected",
        };
        Some(StoreError::FileChanged { path: path.to_owned(), change })
    }
}

/// The absolute path of a file that may not exist yet.
fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let resolved = match std::fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // a symbolic link to a file that does not exist yet is created by opening it
            drop(owned_file(path)?);
            std::fs::canonicalize(path)
        }
        resolved => resolved,
    };
    resolved.map_err(|error| file_error(path, &error))
}

/// Opens `path` and locks it for this process; `database` names the database in the error.
fn locked(path: &Path, database: &Path) -> Result<File, StoreError> {
    let file = owned_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(database.to_owned())),
        Err(TryLockError::Error(error)) => Err(file_error(path, &error)),
    }
}

fn owned_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| file_error(path, &error))
}

/// The path of a file beside the database, which has the name of the database and a suffix.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn file_error(path: &Path, error: &io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), reason: error.to_string() }
}
