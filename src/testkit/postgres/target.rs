//! A database of one test, in a cluster of the test kit or on a given server.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::{
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

/// The URL of the server that `.ci/test --database` names; its role may create databases.
const GIVEN: &str = "MLSDM_TEST_DATABASE_URL";
/// Set by `.ci/test --distributed`: the given server has the extension Citus.
const DISTRIBUTED: &str = "MLSDM_TEST_DISTRIBUTED";

/// True if the tables of each test are to be distributed.
pub(in crate::testkit) fn is_distributed() -> bool {
    std::env::var_os(DISTRIBUTED).is_some()
}

/// A database that one test has created.
pub(in crate::testkit) struct Target {
    /// The URL of the server without a database.
    server: String,
    /// The parameters of the URL, with their question mark.
    parameters: String,
    /// An existing database.
    maintenance: String,
    name: String,
}

impl Target {
    /// A new database on the given server; `None` if no server is given.
    pub(in crate::testkit) async fn given() -> Option<Self> {
        let url = std::env::var(GIVEN).ok()?;
        let (base, parameters) = match url.split_once('?') {
            Some((base, parameters)) => (base, format!("?{parameters}")),
            None => (url.as_str(), String::new()),
        };
        let parts = base.rsplit_once('/').filter(|(server, _)| server.contains("//"));
        let (server, maintenance) =
            parts.unwrap_or_else(|| panic!("{GIVEN} must name a database: postgres://host/name"));
        let target = Self::new(server.to_owned(), parameters, maintenance);
        Some(target.created().await)
    }

    /// A new database on this server.
    pub(super) async fn create(server: String, maintenance: &str) -> Self {
        Self::new(server, String::new(), maintenance).created().await
    }

    fn new(server: String, parameters: String, maintenance: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mlsdm_test_{}_{number}", std::process::id());
        Self { server, parameters, maintenance: maintenance.to_owned(), name }
    }

    async fn created(self) -> Self {
        // a process with the same id may have crashed and left one
        self.execute("DROP DATABASE IF EXISTS").await.expect("DROP DATABASE");
        self.execute("CREATE DATABASE").await.expect("CREATE DATABASE");
        self
    }

    pub(in crate::testkit) fn url(&self) -> String {
        format!("{}/{}{}", self.server, self.name, self.parameters)
    }

    async fn execute(&self, verb: &str) -> Result<(), sqlx::Error> {
        let url = format!("{}/{}{}", self.server, self.maintenance, self.parameters);
        let mut conn: PgConnection = PgConnectOptions::from_str(&url)?.connect().await?;
        let force = if verb.starts_with("DROP") { " WITH (FORCE)" } else { "" };
        let statement = format!("{verb} {}{force}", self.name);
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut conn).await?;
        conn.close().await
    }

    /// Drops the database. It blocks and uses its own thread and runtime, since `Drop` may run
    /// inside or outside a runtime.
    pub(in crate::testkit) fn drop_database(&self) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                // fails if the test has stopped the cluster, which is removed with its databases
                runtime.expect("a runtime").block_on(self.execute("DROP DATABASE IF EXISTS")).ok();
            });
        });
    }
}
