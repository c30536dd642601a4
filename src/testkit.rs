//! What tests stand on: throw-away databases, one for each test.
//!
//! A module of the library, so that unit tests and the test binaries share it; compiled only for
//! them (feature `testkit`). It panics with what to do where a test could not go on anyway.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::{
    auth::{Authenticator, Clock},
    config::{Config, Sources},
    http::AppState,
    lifecycle::Tasks,
    startup,
};

pub mod app;
pub mod double;
pub mod issuer;
pub mod mutate;
pub mod oidc;
pub mod pgbouncer;
pub mod postgres;

use postgres::{Cluster, Target};

/// A database of its own for one test; gone when dropped.
pub struct TestDatabase {
    url: String,
    kept: Kept,
}

/// The variable by which nobody has to say who they are.
pub const OPEN: (&str, &str) = ("MLSDM__AUTH__MODE", "none");

/// The state of an app over engines in a new SQLite database, with these variables over the
/// defaults, and that database, to be held as long as the app. Everybody may do everything. Rates are
/// limited only if a variable says how.
pub async fn app_state(env: &[(&str, &str)]) -> (AppState, TestDatabase) {
    let env: Vec<_> = env.iter().copied().chain([OPEN]).collect();
    guarded_app_state(&env, Arc::new(crate::clock::now_micros)).await
}

/// The same, open to those whom the variables let in, by a clock of the test's.
pub async fn guarded_app_state(env: &[(&str, &str)], clock: Clock) -> (AppState, TestDatabase) {
    let database = TestDatabase::sqlite();
    let set = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let limited = env.iter().any(|(name, _)| name.contains("RATE"));
    let free = (!limited).then_some(("DISABLE_RATE_LIMIT", "true"));
    let sources = Sources {
        file: None,
        dir: database.folder().map(Path::to_owned).unwrap_or_default(),
        env: env.iter().copied().chain(free).chain([("DATABASE_URL", database.url())]).map(set),
        flags: Vec::new(),
    };
    let config = Config::load(sources).expect("a configuration").config;
    let tasks = Tasks::new(Handle::current());
    let llm = startup::llm(&config).await.expect("the models");
    let engines = startup::start_engines(&config, llm, &tasks).await.expect("engines");
    let auth = startup::authenticator(&config, &engines, &tasks, clock).await.expect("callers");
    (startup::state(&config, auth, engines, tasks), database)
}

/// Who may call a server that lets everybody do everything.
pub async fn anybody(tasks: &Tasks) -> Arc<Authenticator> {
    let env = [(OPEN.0.to_owned(), OPEN.1.to_owned())];
    let dir = Path::new("/nonexistent").to_owned();
    let open = Config::load(Sources { file: None, dir, env, flags: Vec::new() });
    let config = open.expect("a configuration").config;
    let clock: Clock = Arc::new(crate::clock::now_micros);
    Authenticator::open(&config, None, tasks, clock).await.expect("everybody")
}

/// What is removed with it.
enum Kept {
    Folder(TempDir),
    Database(Target),
}

impl TestDatabase {
    /// An empty SQLite database (the file itself is made by whoever opens it).
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite://{}", folder.path().join("mlsdm.db").display());
        Self { url, kept: Kept::Folder(folder) }
    }

    /// An empty database in the shared PostgreSQL, which is started if it does not run.
    pub async fn postgres() -> Self {
        Self::within(postgres::shared()).await
    }

    /// An empty database in a PostgreSQL of the test's own.
    pub async fn within(cluster: &Cluster) -> Self {
        let target = cluster.create_database().await;
        Self { url: target.url(), kept: Kept::Database(target) }
    }

    /// Where to connect.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl TestDatabase {
    /// The folder of a SQLite database.
    pub fn folder(&self) -> Option<&Path> {
        match &self.kept {
            Kept::Folder(folder) => Some(folder.path()),
            Kept::Database(_) => None,
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.kept {
            Kept::Folder(_) => {}
            Kept::Database(target) => target.drop_database(),
        }
    }
}
