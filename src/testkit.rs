//! The test kit.
//!
//! | type | what it is |
//! |---|---|
//! | [`TestDatabase`] | an empty SQLite or PostgreSQL database, dropped at the end of the test |
//! | [`TestStore`] | an open, migrated store on such a database |
//! | [`app::TestApp`] | engines in the process of the test: scripted model, settable clock, faults |
//! | [`TestServer`] | the real binary as a server process, started in a [`TestEnv`] |
//! | [`double::Double`] | a model provider that sends scripted bytes |
//! | [`strict::Provider`] | a model provider that refuses what the published APIs refuse |
//! | [`cut_proxy::CutProxy`] | a network before PostgreSQL that breaks as the test asks |
//! | [`CommandOutput`] | what a command of the binary printed and its exit code |
//!
//! [`on_every_database!`](crate::on_every_database) runs a test on all databases, [`eventually`]
//! waits for another task or process. The kit is a module of the library so that unit tests and the
//! test binaries share it; it is compiled only for them (feature `testkit`). It panics when a test
//! cannot continue, with the remedy in the message.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::{path::Path, sync::Arc};

use tokio::runtime::Handle;

use crate::{
    auth::{Authenticator, Clock, Options},
    config::{Config, Sources},
    http::AppState,
    lifecycle::Tasks,
    startup,
};

pub mod app;
mod client;
mod command;
pub mod cut_proxy;
mod database;
pub mod double;
mod eventually;
pub mod issuer;
pub mod mutate;
pub mod oidc;
pub mod patroni;
mod pgbouncer;
pub mod postgres;
mod random;
mod server;
mod store;
pub mod strict;

pub use client::{TestResponse, http_client, http_client_builder, send};
pub use command::{CommandOutput, TestEnv, run_mlsdm};
pub use database::{Backend, TestDatabase, on_every_database};
pub use eventually::{DEADLINE, eventually};
pub use postgres::free_port;
pub use random::{Random, seed};
pub use server::TestServer;
pub use store::TestStore;

use crate::domain::ids::Micros;

/// The time at which the clock of a test starts: 2023-11-14, 22:13:20 UTC.
pub const START: Micros = 1_700_000_000_000_000;

/// The content key of all test databases: 32 bytes in hexadecimal.
pub const CONTENT_KEY: &str = "4242424242424242424242424242424242424242424242424242424242424242";

/// The variable that turns authentication off.
pub const NO_AUTH: (&str, &str) = ("MLSDM__AUTH__MODE", "none");

/// The state of the HTTP API on a new SQLite database, without authentication, with these variables
/// over the defaults. The database has to live as long as the state. Rate limits are off unless a
/// variable sets one.
pub async fn app_state(env: &[(&str, &str)]) -> (AppState, TestDatabase) {
    let env: Vec<_> = env.iter().copied().chain([NO_AUTH]).collect();
    guarded_app_state(&env, Arc::new(crate::clock::now_micros)).await
}

/// The state of the HTTP API with the authentication that the variables configure and the clock of
/// the test.
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

/// An authenticator that lets every caller do everything.
pub async fn open_authenticator(tasks: &Tasks) -> Arc<Authenticator> {
    let clock: Clock = Arc::new(crate::clock::now_micros);
    Authenticator::open(Options::anonymous(), tasks, clock).await.expect("everybody")
}
