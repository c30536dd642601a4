//! A standby of a private cluster, which replicates synchronously.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::str::FromStr as _;

use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};

use super::{Cluster, as_server_user};
use crate::testkit::eventually;

impl Cluster {
    /// Starts a standby. From then on a COMMIT of this cluster waits until the standby has it.
    pub async fn standby(&self) -> Self {
        let mut standby = Self::private(self.programs.clone(), Vec::new());
        let done = as_server_user(standby.binary("pg_basebackup"), standby.folder.path())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"])
            .args(["-D", "data", "-R", "-c", "fast", "--no-sync"])
            .output()
            .expect("pg_basebackup");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        standby.start_watched();
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        let options = PgConnectOptions::from_str(&url).expect("a URL");
        let mut connection = options.connect().await.expect("a connection");
        for statement in
            ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"]
        {
            sqlx::raw_sql(statement).execute(&mut connection).await.expect(statement);
        }
        eventually("a synchronous standby", async || is_synchronous(&mut connection).await).await;
        standby
    }
}

async fn is_synchronous(connection: &mut PgConnection) -> Result<(), String> {
    const STANDBYS: &str = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    let standbys: i64 =
        sqlx::query_scalar(STANDBYS).fetch_one(connection).await.map_err(|e| e.to_string())?;
    if standbys == 1 { Ok(()) } else { Err(format!("{standbys} standbys")) }
}
