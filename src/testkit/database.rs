//! A throw-away database for one test.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use tempfile::TempDir;

use super::{
    pgbouncer::PgBouncer,
    postgres::{self, Cluster, Target},
};

/// Makes each named function a test on every database.
///
/// The functions take a fixture: a type with `async fn on(Backend) -> Self`, such as
/// [`TestDatabase`] or [`TestStore`](super::TestStore). With `and PgBouncer` they run a third time,
/// on PostgreSQL behind a connection pooler.
///
/// ```ignore
/// on_every_database!(TestStore and PgBouncer: events_are_read_in_order,
/// an_engine_is_created_once);
///
/// async fn events_are_read_in_order(test: TestStore) { … }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! on_every_database {
    ($fixture:ident: $($name:ident),+ $(,)?) => {
        $crate::on_every_database!(@ sqlite, Sqlite, $fixture, $($name),+);
        $crate::on_every_database!(@ postgres, Postgres, $fixture, $($name),+);
    };
    ($fixture:ident and PgBouncer: $($name:ident),+ $(,)?) => {
        $crate::on_every_database!($fixture: $($name),+);
        $crate::on_every_database!(@ pgbouncer, PgBouncer, $fixture, $($name),+);
    };
    (@ $module:ident, $backend:ident, $fixture:ident, $($name:ident),+) => {
        mod $module {
            $(#[tokio::test]
            async fn $name() {
                let backend = $crate::testkit::Backend::$backend;
                super::$name(super::$fixture::on(backend).await).await;
            })+
        }
    };
}
pub use on_every_database;

/// The databases that the store supports, and the pooler it supports in front of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file in a temporary folder.
    Sqlite,
    /// A database in the PostgreSQL cluster that all test processes share.
    Postgres,
    /// The same, behind a PgBouncer in transaction mode.
    PgBouncer,
}

/// An empty database that is dropped with this value.
pub struct TestDatabase {
    backend: Backend,
    /// The database itself, without a pooler in front.
    direct_url: String,
    pgbouncer: Option<PgBouncer>,
    storage: Storage,
}

/// The resources that are removed when the test ends.
enum Storage {
    Folder(TempDir),
    Database(Target),
}

impl TestDatabase {
    /// An empty database of this kind.
    pub async fn on(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::sqlite(),
            Backend::Postgres => Self::postgres().await,
            Backend::PgBouncer => {
                let mut database = Self::postgres().await;
                database.pgbouncer = Some(PgBouncer::start(&database.direct_url).await);
                database.backend = backend;
                database
            }
        }
    }

    /// An empty SQLite database. The process that opens it first creates the file.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("create a temporary folder");
        let direct_url = format!("sqlite://{}", folder.path().join("mlsdm.db").display());
        let storage = Storage::Folder(folder);
        Self { backend: Backend::Sqlite, direct_url, pgbouncer: None, storage }
    }

    /// An empty database on the PostgreSQL server that `.ci/test --database` names, or in the shared
    /// cluster, which is started if it is not running.
    pub async fn postgres() -> Self {
        match Target::given().await {
            Some(target) => Self::of(target),
            None => Self::within(postgres::shared()).await,
        }
    }

    /// An empty database in this PostgreSQL cluster.
    pub async fn within(cluster: &Cluster) -> Self {
        Self::of(cluster.create_database().await)
    }

    fn of(target: Target) -> Self {
        Self {
            backend: Backend::Postgres,
            direct_url: target.url(),
            pgbouncer: None,
            storage: Storage::Database(target),
        }
    }

    /// The URL for clients: PgBouncer's, if one runs in front of the database.
    pub fn url(&self) -> &str {
        self.pgbouncer.as_ref().map_or(&self.direct_url, PgBouncer::url)
    }

    /// The URL of the database itself, as migrations need it.
    pub fn direct_url(&self) -> &str {
        &self.direct_url
    }

    /// The kind of database.
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// True for a SQLite database.
    pub const fn is_sqlite(&self) -> bool {
        matches!(self.backend, Backend::Sqlite)
    }

    /// The folder of a SQLite database.
    pub fn folder(&self) -> Option<&Path> {
        match &self.storage {
            Storage::Folder(folder) => Some(folder.path()),
            Storage::Database(_) => None,
        }
    }

    /// Runs SQL statements on a connection of their own, bypassing the store.
    pub async fn execute(&self, statements: &str) -> Result<(), sqlx::Error> {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        if self.is_sqlite() {
            let mut connection = SqliteConnection::connect(&self.direct_url).await?;
            statements.execute(&mut connection).await?;
            connection.close().await
        } else {
            let mut connection = PgConnection::connect(&self.direct_url).await?;
            statements.execute(&mut connection).await?;
            connection.close().await
        }
    }

    /// Distributes the migrated tables, if `.ci/test --distributed` asks for it.
    pub async fn distribute(&self) {
        if !self.is_sqlite() && postgres::is_distributed() {
            let statements = include_str!("../../deploy/scale/citus.sql");
            self.execute(statements).await.expect("the tables are distributed");
        }
    }

    /// Lets [`Self::execute`] change and delete events, as the owner of the tables can.
    pub async fn disable_triggers(&self) {
        let statement = if self.is_sqlite() {
            "DROP TRIGGER IF EXISTS events_no_update; DROP TRIGGER IF EXISTS events_no_delete"
        } else {
            // a distributed table has none
            "DO $$ BEGIN IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'events'::regclass \
             AND NOT tgisinternal) THEN ALTER TABLE events DISABLE TRIGGER USER; END IF; END $$"
        };
        self.execute(statement).await.expect("the triggers are disabled");
    }

    /// The first column of the first row of a query, which has to be text.
    pub async fn query_text(&self, query: &str) -> String {
        let query = AssertSqlSafe(query.to_owned());
        let connected = "connect to the test database";
        if self.is_sqlite() {
            let connection = SqliteConnection::connect(&self.direct_url).await;
            let row = sqlx::query(query).fetch_one(&mut connection.expect(connected)).await;
            row.expect("a row").get(0)
        } else {
            let connection = PgConnection::connect(&self.direct_url).await;
            let row = sqlx::query(query).fetch_one(&mut connection.expect(connected)).await;
            row.expect("a row").get(0)
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // PgBouncer first, so that it does not reconnect to a database that is being dropped
        drop(self.pgbouncer.take());
        match &self.storage {
            Storage::Folder(_) => {}
            Storage::Database(target) => target.drop_database(),
        }
    }
}
