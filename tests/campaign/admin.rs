//! What the administrator of a PostgreSQL server does to it.

use std::{
    fs,
    time::{Duration, Instant},
};

use mlsdm::testkit::{TestDatabase, eventually};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::{process::Command, task::JoinSet, time::sleep};

/// Pause before another attempt to take a connection.
const TAKEN_AGAIN: Duration = Duration::from_millis(5);
/// Clients that compete with the servers for connections.
const TAKERS: usize = 16;
/// Pause before the connections are ended again that the servers have got.
const TAKERS_PAUSE: Duration = Duration::from_millis(500);

/// A connection to the server of a database, but to the database `postgres`.
pub(crate) struct Admin {
    connection: PgConnection,
    url: String,
    database: String,
}

impl Admin {
    pub(crate) async fn of(database: &TestDatabase) -> Self {
        let (server, name) = database.direct_url().rsplit_once('/').unwrap();
        let url = format!("{server}/postgres");
        let connection = PgConnection::connect(&url).await.unwrap();
        Self { connection, url, database: name.to_owned() }
    }

    pub(crate) async fn run(&mut self, statement: &str) {
        let statement = statement.replace("DATABASE", &self.database);
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.connection).await.unwrap();
    }

    async fn processes(&mut self, condition: &str) -> Vec<i32> {
        let query = format!(
            "select pid from pg_stat_activity where datname = '{}' and {condition} order by random()",
            self.database
        );
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut self.connection).await.unwrap()
    }

    /// Calls a function such as `pg_terminate_backend` with a busy connection of the database,
    /// several times.
    pub(crate) async fn signal(&mut self, function: &str, times: u32, pause: Duration) {
        for _ in 0..times {
            if let Some(process) = self.processes("state <> 'idle'").await.first() {
                self.run(&format!("select {function}({process})")).await;
            }
            sleep(pause).await;
        }
    }

    /// Ends all connections of the database.
    pub(crate) async fn terminate_all(&mut self) {
        for process in self.processes("true").await {
            self.run(&format!("select pg_terminate_backend({process})")).await;
        }
    }

    /// `kill -9` of a server process that serves a connection. PostgreSQL ends all others and
    /// recovers; returns when it accepts connections again.
    pub(crate) async fn kill_backend(&mut self) {
        let process = self.processes("true").await[0];
        kill("KILL", &process.to_string()).await;
        eventually("a connection after the recovery", async || {
            sleep(Duration::from_millis(50)).await;
            PgConnection::connect(&self.url).await.map(drop)
        })
        .await;
        self.connection = PgConnection::connect(&self.url).await.unwrap();
    }

    /// The processes of the server: its first process comes first, so that it starts no others
    /// once it is paused.
    pub(crate) async fn server_processes(&mut self) -> Vec<String> {
        let query = "select current_setting('data_directory')";
        let folder: String =
            sqlx::query_scalar(query).fetch_one(&mut self.connection).await.unwrap();
        let file = fs::read_to_string(format!("{folder}/postmaster.pid")).unwrap();
        let first = file.lines().next().unwrap().to_owned();
        let children = Command::new("pgrep").args(["-P", &first]).output().await.unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        [first].into_iter().chain(children.lines().map(str::to_owned)).collect()
    }

    /// Takes all connections for a time, those of the servers too.
    pub(crate) async fn take_connections(&mut self, time: Duration) {
        let mut takers = JoinSet::new();
        for _ in 0..TAKERS {
            let url = self.url.clone();
            takers.spawn(async move {
                let mut taken = Vec::new();
                loop {
                    match PgConnection::connect(&url).await {
                        Ok(connection) => taken.push(connection),
                        Err(_) => sleep(TAKEN_AGAIN).await,
                    }
                }
            });
        }
        let ends = Instant::now() + time;
        while Instant::now() < ends {
            self.terminate_all().await;
            sleep(TAKERS_PAUSE).await;
        }
        takers.shutdown().await;
    }
}

pub(crate) async fn kill(signal: &str, process: &str) {
    let name = format!("-{signal}");
    // a process may have ended meanwhile
    drop(Command::new("kill").args([&name, process]).output().await);
}
