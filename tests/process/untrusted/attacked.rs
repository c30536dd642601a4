//! A database with the documented roles, and the statements of an attacker who knows the table format.

use mlsdm::{
    domain::ids::EngineId,
    store::{Options, Record, Store, chain},
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

/// The MAC of a forged event; the attacker does not have the key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mac {
    None,
    /// The MAC of a genuine event.
    Copied,
    /// The MAC of a genuine event, said to be made with another key.
    UnknownKey,
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

    fn literal(&self, bytes: &[u8]) -> String {
        let hex = hex::encode(bytes);
        if self.database.is_sqlite() { format!("x'{hex}'") } else { format!("'\\x{hex}'::bytea") }
    }

    /// The statement that copies an event to another place without any change.
    pub(crate) fn copy((engine, position): (&str, u64), (to, at): (&str, u64)) -> String {
        format!(
            "INSERT INTO events (engine_id, position, {COLUMNS}) SELECT '{to}', {at}, {COLUMNS} \
             FROM events WHERE engine_id = '{engine}' AND position = {position}"
        )
    }

    /// The statement that adds an event which continues the chain, like the event at `like` but changed.
    pub(crate) async fn forged(
        &self,
        (engine, like): (&str, u64),
        mac: Mac,
        change: impl FnOnce(&mut Record),
    ) -> String {
        let log = self.log(engine).await;
        let last = log.last().unwrap();
        let mut event = log[like as usize - 1].clone();
        change(&mut event);
        (event.position, event.recorded_at) = (last.position + 1, last.recorded_at);
        let leaf = chain::leaf(&id(engine), &event);
        let link = chain::link(last.chain_hash, event.position, leaf);
        let columns = COLUMNS
            .replace("clear", &self.literal(&event.payload))
            .replace("type", &format!("'{}'", event.kind))
            .replace("recorded_at", &event.recorded_at.to_string())
            .replace("leaf_hash", &self.literal(&leaf.0))
            .replace("chain_hash", &self.literal(&link.0));
        let columns = match mac {
            Mac::None => columns.replace("mac_key, mac", "NULL, NULL"),
            Mac::Copied => columns,
            Mac::UnknownKey => columns.replace("mac_key", "mac_key + 1000"),
        };
        format!(
            "INSERT INTO events (engine_id, position, {COLUMNS}) \
             SELECT '{engine}', {}, {columns} FROM events \
             WHERE engine_id = '{engine}' AND position = {like}",
            event.position
        )
    }

    /// Replaces the payload of an event, as the owner.
    pub(crate) async fn set_payload(&self, (engine, position): (&str, u64), payload: &[u8]) {
        let clear = self.literal(payload);
        let place = format!("engine_id = '{engine}' AND position = {position}");
        self.execute(Role::Owner, &format!("UPDATE events SET clear = {clear} WHERE {place}"))
            .await;
    }

    /// Recomputes leaves and links of an engine's log from a position on, as the owner.
    pub(crate) async fn rechain(&self, engine: &str, from: u64) {
        let log = self.log(engine).await;
        let before = from.checked_sub(2).map(|last| log[last as usize].chain_hash);
        let mut chain_hash = before.unwrap_or_else(|| chain::genesis(&id(engine)));
        for event in &log[from as usize - 1..] {
            let leaf = chain::leaf(&id(engine), event);
            chain_hash = chain::link(chain_hash, event.position, leaf);
            let columns = format!(
                "leaf_hash = {}, chain_hash = {}",
                self.literal(&leaf.0),
                self.literal(&chain_hash.0)
            );
            let place = format!("engine_id = '{engine}' AND position = {}", event.position);
            self.execute(Role::Owner, &format!("UPDATE events SET {columns} WHERE {place}")).await;
        }
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
