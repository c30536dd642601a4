//! A database with the documented roles, and the statements of an attacker who knows the table format.

use mlsdm::{
    domain::ids::EngineId,
    store::{Options, Record, Store},
    testkit::{
        Backend, TestDatabase, TestEnv,
        postgres::{self, Cluster},
    },
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A role that may only add events and read them.
const FORGER: &str = "CREATE ROLE forger LOGIN; GRANT USAGE ON SCHEMA public TO forger; \
                      GRANT SELECT, INSERT ON events TO forger;";

/// The columns of an event after its engine and position.
const COLUMNS: &str = "command_id, type, schema_version, decide_version, recorded_at, step, request_id, \
                       actor, subject_ref, trace_id, clear, content_hash, leaf_hash, chain_hash, \
                       mac_key, mac";

/// A database to attack.
pub(crate) struct Attacked {
    pub(crate) database: TestDatabase,
    /// Roles belong to a whole cluster, so this database has its own.
    _cluster: Option<Cluster>,
}

/// The attacker's role.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// May insert and read events. On SQLite: whoever can write to the file.
    Forger,
    /// The role of the server.
    App,
    /// May read.
    Auditor,
    /// The owner of the tables, with the triggers disabled.
    Owner,
}

impl Attacked {
    pub(crate) async fn on(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self { database: TestDatabase::sqlite(), _cluster: None },
            Backend::Postgres | Backend::PgBouncer => {
                let cluster = postgres::private_cluster();
                let database = TestDatabase::within(&cluster).await;
                Self { database, _cluster: Some(cluster) }
            }
        }
    }

    /// Makes the roles of migrations/README.md; the tables have to exist.
    pub(crate) async fn make_roles(&self) {
        if self.database.is_sqlite() {
            return;
        }
        let readme = include_str!("../../../migrations/README.md");
        let documented = readme.split_once("```sql").and_then(|(_, rest)| rest.split_once("```"));
        self.database.execute(documented.unwrap().0).await.unwrap();
        self.database.execute(FORGER).await.unwrap();
    }

    /// The roles that may add events.
    pub(crate) fn writers(&self) -> &'static [Role] {
        if self.database.is_sqlite() {
            &[Role::Owner]
        } else {
            &[Role::Forger, Role::App, Role::Owner]
        }
    }

    pub(crate) async fn try_execute(&self, role: Role, sql: &str) -> Result<(), sqlx::Error> {
        if matches!(role, Role::Owner) {
            self.database.disable_triggers().await;
        }
        let name = match role {
            Role::Forger => "forger",
            Role::App => "mlsdm_app",
            Role::Auditor => "mlsdm_auditor",
            Role::Owner => return self.database.execute(sql).await,
        };
        let url = self.database.url().replace("postgres@", &format!("{name}@"));
        let mut connection = PgConnection::connect(&url).await?;
        let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        statements.execute(&mut connection).await.map(drop)
    }

    pub(crate) async fn execute(&self, role: Role, sql: &str) {
        self.try_execute(role, sql).await.unwrap_or_else(|e| panic!("{role:?}: {sql}: {e}"));
    }

    /// All events of an engine.
    pub(crate) async fn log(&self, engine: &str) -> Vec<Record> {
        let store = Store::open_read_only(&Options::new(self.database.url())).await.unwrap();
        let events = store.read(&id(engine), 0, 1_000).await.unwrap();
        store.close().await;
        events
    }

    /// The position of the last event of a type.
    pub(crate) async fn last(&self, engine: &str, kind: &str) -> u64 {
        let log = self.log(engine).await;
        log.iter().rfind(|event| event.kind == kind).expect("an event of the type").position
    }

    /// The statement that copies an event to another place without any change.
    pub(crate) fn copy((engine, position): (&str, u64), (to, at): (&str, u64)) -> String {
        format!(
            "INSERT INTO events (engine_id, position, {COLUMNS}) SELECT '{to}', {at}, {COLUMNS} \
             FROM events WHERE engine_id = '{engine}' AND position = {position}"
        )
    }
}

fn id(engine: &str) -> EngineId {
    engine.parse().unwrap_or_else(|_| EngineId::system())
}

/// The environment of a server that accepts API keys, with this administrator's key.
pub(crate) fn env(database: &TestDatabase, admin: &str) -> TestEnv {
    let env = TestEnv::new(database.url()).with("MLSDM__AUTH__MODE", "keys");
    env.with("ADMIN_API_KEY", admin).with("MLSDM_API_KEY", admin)
}
