//! What tests stand on: throw-away databases, one for each test.
//!
//! A module of the library, so that unit tests and the test binaries share it; compiled only for
//! them (feature `testkit`). It panics with what to do where a test could not go on anyway.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::path::Path;

use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::{
    config::{Config, Sources},
    http::{
        AppState,
        server::{llm, open_engines},
    },
    lifecycle::Tasks,
};

pub mod app;
pub mod double;
pub mod mutate;
pub mod pgbouncer;
pub mod postgres;

use postgres::{Cluster, Target};

/// A database of its own for one test; gone when dropped.
pub struct TestDatabase {
    url: String,
    kept: Kept,
}

/// The state of an app over engines in a new SQLite database, with these variables over the
/// defaults, and that database, to be held as long as the app. Rates are limited only if a variable
/// says how.
pub async fn app_state(env: &[(&str, &str)]) -> (AppState, TestDatabase) {
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
    let llm = llm(&config).await.expect("the models");
    let engines = open_engines(&config, llm, &tasks).await.expect("engines");
    (AppState::new(&config, engines, tasks), database)
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
