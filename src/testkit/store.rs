//! An open store on a throw-away database.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use super::{Backend, TestDatabase};
use crate::store::{Options, Store};

/// An open, migrated store and its database. The store is dropped before the database.
pub struct TestStore {
    /// The store under test.
    pub store: Store,
    /// The options it was opened with.
    pub options: Options,
    /// The database it is open on.
    pub database: TestDatabase,
}

impl TestStore {
    /// A store on a new database of this kind.
    pub async fn on(backend: Backend) -> Self {
        let database = TestDatabase::on(backend).await;
        if backend == Backend::PgBouncer {
            // migrations take an advisory lock of the session, which a transaction pooler breaks
            let direct = open(&Options::new(database.direct_url())).await;
            direct.migrate().await.expect("migrate the test database");
            direct.close().await;
            database.distribute().await;
        }
        let pooler = backend == Backend::PgBouncer;
        let options = Options { pooler, ..Options::new(database.url()) };
        let store = open(&options).await;
        if !pooler {
            store.migrate().await.expect("migrate the test database");
            database.distribute().await;
        }
        Self { store, options, database }
    }

    /// A store on a new SQLite database.
    pub async fn sqlite() -> Self {
        Self::on(Backend::Sqlite).await
    }

    /// A store as a second replica opens it. SQLite allows one owner, so there the handle is
    /// shared.
    pub async fn replica(&self, options: Options) -> Store {
        match &self.store {
            Store::Sqlite(_) => self.store.clone(),
            Store::Postgres(_) => open(&options).await,
        }
    }
}

async fn open(options: &Options) -> Store {
    Store::open(options).await.expect("open the test database")
}
