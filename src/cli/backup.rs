//! `mlsdm backup`

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Context, database, output, progress::Progress};
use crate::{
    startup::{key_file, store_options},
    store::{Head, Options, SqliteStore, Store},
};

/// Interval at which the size of the copy is read.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to create. An existing file is never overwritten.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Copy the content key too, to FILE with the extension `.key`. Whoever has both files can read all
    /// contents.
    #[arg(long)]
    with_key: bool,
}

/// A backup that was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackupError {
    #[error(
        "`mlsdm backup` copies SQLite files; back a PostgreSQL database up with pgBackRest or pg_dump \
         (deploy/OPERATIONS.md)"
    )]
    NotSqlite,
    #[error(
        "--with-key copies the key file beside the database, but the content key is configured \
         (MLSDM_CONTENT_KEY or MLSDM_CONTENT_KEY_FILE); back it up where it is kept"
    )]
    KeyIsConfigured,
    #[error("{0} exists already; name another file")]
    Exists(PathBuf),
    #[error("{0} is the key of the database in use; name a file in another folder")]
    KeyInUse(PathBuf),
    #[error(
        "cannot read the content key {path}: {reason}; run the command as the user of the server"
    )]
    ReadKey { path: PathBuf, reason: io::Error },
    #[error("cannot write {path}: {reason}; check the folder, its permissions and its free space")]
    Write { path: PathBuf, reason: io::Error },
}

/// A file under a temporary name, removed unless it was given its name.
struct Unfinished {
    path: PathBuf,
    file: File,
}

/// Copies the configured SQLite database, next to a running server.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let config = &context.loaded()?.config.database;
    let store = database::open(context).await?;
    let Store::Sqlite(sqlite) = &store else { return Err(BackupError::NotSqlite.into()) };
    if args.with_key && config.content_key().is_some() {
        return Err(BackupError::KeyIsConfigured.into());
    }
    is_free(&args.file)?;
    let key = args.with_key.then(|| KeyCopy::open(&key_file(sqlite.path()), &args.file));
    let key = key.transpose()?;
    let unfinished = copy(sqlite, &args.file).await?;
    store.close().await;
    // the key first: a database without its key looks complete
    let key = key.map(KeyCopy::write).transpose()?;
    if let Err(error) = unfinished.finish(&args.file) {
        if let Some(key) = key {
            fs::remove_file(&key).map_err(|reason| failed(&key, reason))?;
        }
        return Err(error.into());
    }
    let bytes = fs::metadata(&args.file).map_err(|reason| failed(&args.file, reason))?.len();
    let report = json!({
        "file": args.file,
        "bytes": bytes,
        "key": key,
        "engines": heads(&store_options(config), &args.file).await?,
    });
    context.print(&report, render)
}

/// Copies the database to a temporary name beside `target`, and reports the progress.
async fn copy(store: &SqliteStore, target: &Path) -> anyhow::Result<Unfinished> {
    let unfinished = Unfinished::create(target)?;
    let mut progress = Progress::of_file(target, store.size().await?);
    let partial = unfinished.path.clone();
    let mut copied = std::pin::pin!(store.copy_to(&partial));
    loop {
        tokio::select! {
            done = &mut copied => break done?,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                progress.at(unfinished.file.metadata().map_or(0, |metadata| metadata.len()));
            }
        }
    }
    Ok(unfinished)
}

fn is_free(path: &Path) -> Result<(), BackupError> {
    match path.symlink_metadata() {
        Ok(_) => Err(BackupError::Exists(path.to_owned())),
        Err(_) => Ok(()),
    }
}

/// A content key and the file to copy it to.
struct KeyCopy {
    text: Zeroizing<Vec<u8>>,
    target: PathBuf,
}

impl KeyCopy {
    /// Reads the key. Its copy lies beside `file`.
    fn open(key: &Path, file: &Path) -> Result<Self, BackupError> {
        let cannot_read = |reason| BackupError::ReadKey { path: key.to_owned(), reason };
        let mut source = File::open(key).map_err(cannot_read)?;
        let found = source.metadata().map_err(cannot_read)?;
        let target = key_file(file);
        let is_source =
            |other: fs::Metadata| (other.dev(), other.ino()) == (found.dev(), found.ino());
        if target.metadata().is_ok_and(is_source) {
            return Err(BackupError::KeyInUse(target));
        }
        is_free(&target)?;
        let mut text = Zeroizing::default();
        source.read_to_end(&mut text).map_err(cannot_read)?;
        Ok(Self { text, target })
    }

    /// Writes the copy; returns its path.
    fn write(self) -> Result<PathBuf, BackupError> {
        let mut unfinished = Unfinished::create(&self.target)?;
        let written = unfinished.file.write_all(&self.text);
        written.map_err(|reason| failed(&unfinished.path, reason))?;
        unfinished.finish(&self.target)?;
        Ok(self.target)
    }
}

/// The heads of the logs in a copy.
async fn heads(options: &Options, file: &Path) -> anyhow::Result<Vec<Value>> {
    let name = percent_encode(file.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    let options = Options { url: format!("sqlite://{name}").into(), ..options.clone() };
    let copy = Store::open_read_only(&options).await?;
    let engines: Vec<_> = copy.engines().await?.into_iter().map(|row| row.engine_id).collect();
    let heads = copy.heads(&engines).await?;
    copy.close().await;
    let head = |(engine, head): (_, Head)| {
        json!({
            "engine": engine,
            "position": head.position,
            "chain_hash": head.chain_hash.to_string(),
        })
    };
    Ok(heads.into_iter().map(head).collect())
}

impl Unfinished {
    /// An empty file that only its owner can read.
    fn create(target: &Path) -> Result<Self, BackupError> {
        let mut name = target.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let file = create_new(&path)?;
        Ok(Self { path, file })
    }

    /// Gives the file its name after all of it is on disk. A rename would overwrite a file of this name,
    /// and not all file systems have links: so the name is taken first, by an empty file.
    fn finish(self, target: &Path) -> Result<(), BackupError> {
        self.file.sync_all().map_err(|reason| failed(&self.path, reason))?;
        create_new(target)?;
        if let Err(error) = fs::rename(&self.path, target) {
            fs::remove_file(target).ok();
            return Err(failed(target, error));
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|reason| failed(folder, reason))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // it may be gone already
        fs::remove_file(&self.path).ok();
    }
}

fn create_new(path: &Path) -> Result<File, BackupError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            BackupError::Exists(path.to_owned())
        } else {
            failed(path, error)
        }
    })
}

fn failed(path: &Path, reason: io::Error) -> BackupError {
    BackupError::Write { path: path.to_owned(), reason }
}

fn render(value: &Value) -> String {
    let row = |engine: &Value| {
        ["engine", "position", "chain_hash"].map(|key| output::cell(engine.get(key))).to_vec()
    };
    let rows: Vec<_> = value["engines"].as_array().into_iter().flatten().map(row).collect();
    let [file, bytes] = ["file", "bytes"].map(|key| output::cell(value.get(key)));
    let key = match value["key"].as_str() {
        Some(key) => format!("content key: {key}\n"),
        None => "content key: not copied\n".to_owned(),
    };
    let table = output::table(&["ENGINE", "POSITION", "CHAIN HASH"], &rows);
    format!("{file}: {bytes} bytes\n{key}{table}")
}
