//! Logs that version 0.1 recorded: read, verified, continued, upgraded. `tests/format1/record.py` made
//! them.

use std::fs;

use mlsdm::{
    Engine, Generate,
    domain::ids::EngineId,
    store::{Options, Store, chain, replicas::Heartbeat},
    testkit::{CommandOutput, TestDatabase, run_mlsdm},
};
use serde_json::Value;

const ENGINES: [&str; 4] = ["busy", "copy", "default", "frugal"];

/// A copy of the recorded database.
struct Recorded {
    database: TestDatabase,
    key: String,
}

impl Recorded {
    /// A copy with the tables of this version.
    async fn migrated() -> Self {
        let database = TestDatabase::sqlite();
        fs::copy("tests/format1/log.db", database.folder().unwrap().join("mlsdm.db")).unwrap();
        let key = fs::read_to_string("tests/format1/log.key").unwrap().trim().to_owned();
        let store = Store::open(&Options::new(database.url())).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
        Self { database, key }
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        run_mlsdm(self.database.url(), arguments, &[("MLSDM_CONTENT_KEY", &self.key)])
    }

    /// Asserts that all hashes match and that this version makes every recorded decision again.
    #[track_caller]
    fn verifies(&self) {
        self.run(&["audit", "verify"]).exits(0);
        let replay = self.run(&["replay", "--verify", "--json"]).exits(0).json();
        for engine in replay["engines"].as_array().unwrap() {
            assert_eq!(engine["verified"], engine["position"], "{engine}");
        }
    }

    /// Runs a step of the default engine in this process.
    async fn says(&self, prompt: &str) {
        let engine = Engine::builder()
            .llm(|_| async { Ok("That is noted.") })
            .content_key(self.key.as_str())
            .open(self.database.url())
            .await
            .unwrap();
        let answer = engine.generate(Generate::new(prompt).moral_value(0.9)).await.unwrap();
        assert!(answer.accepted, "{answer:?}");
        engine.close().await.unwrap();
    }

    async fn text(&self, query: &str) -> String {
        self.database.query_text(query).await
    }

    /// Appends a copy of the last event of the default engine with valid hashes and without a MAC.
    async fn forge(&self) {
        let engine = EngineId::default();
        let store = Store::open_read_only(&Options::new(self.database.url())).await.unwrap();
        let mut record = store.read(&engine, 0, 10_000).await.unwrap().pop().unwrap();
        store.close().await;
        let (last, before) = (record.position, record.chain_hash);
        record.position += 1;
        chain::extend(&engine, before, None, &mut record);
        let [leaf, link] = [record.leaf_hash, record.chain_hash].map(|hash| hex::encode(hash.0));
        let insert = format!(
            "INSERT INTO events (engine_id, position, command_id, type, schema_version, \
             decide_version, recorded_at, step, request_id, actor, subject_ref, trace_id, clear, \
             content_hash, leaf_hash, chain_hash) SELECT engine_id, {}, command_id, type, \
             schema_version, decide_version, recorded_at, step, request_id, actor, subject_ref, \
             trace_id, clear, content_hash, x'{leaf}', x'{link}' FROM events \
             WHERE engine_id = '{engine}' AND position = {last}",
            record.position
        );
        self.database.execute(&insert).await.unwrap();
    }

    fn formats(&self) -> Vec<u64> {
        let status = self.run(&["upgrade", "status", "--json"]).exits(0).json();
        let logs = status["logs"].as_array().unwrap().iter();
        logs.map(|log| log["log_format"].as_u64().unwrap()).collect()
    }
}

#[tokio::test]
async fn logs_of_version_0_1_are_verified_completely() {
    let recorded = Recorded::migrated().await;
    recorded.verifies();
    let states: Value =
        serde_json::from_str(&fs::read_to_string("tests/format1/states.json").unwrap()).unwrap();
    let replay = recorded.run(&["replay", "--json"]).exits(0).json();
    for (name, state) in states.as_object().unwrap() {
        let engines = replay["engines"].as_array().unwrap();
        let engine = engines.iter().find(|engine| engine["engine"] == name.as_str()).unwrap();
        for field in ["position", "state_digest", "chain_hash"] {
            assert_eq!(engine[field], state[field], "{field} of {name}");
        }
    }
}

#[tokio::test]
async fn logs_of_version_0_1_go_on_in_format_1_until_the_upgrade_is_finished() {
    let recorded = Recorded::migrated().await;
    recorded.says("Before the upgrade").await;
    recorded.verifies();
    assert_eq!(recorded.formats(), [1; 5]);
    let authentic = recorded.text("SELECT count(*) || '' FROM events WHERE mac IS NOT NULL").await;
    assert_eq!(authentic, "0", "an event of format 1 has no MAC");
    let status = recorded.run(&["upgrade", "status"]).exits(0);
    assert!(status.stdout.contains("`mlsdm upgrade finish` raises all logs"), "{status:?}");
}

#[tokio::test]
async fn logs_of_version_0_1_are_raised_and_go_on_in_format_2() {
    let recorded = Recorded::migrated().await;
    let raised = recorded.run(&["upgrade", "finish", "--json"]).exits(0).json();
    assert_eq!(raised["raised"][0], "_system", "new engines get its format");
    assert_eq!(raised["raised"].as_array().unwrap().len(), 1 + ENGINES.len());
    // the condition by which version 0.1 refuses a log: its format is above 1
    assert_eq!(recorded.formats(), [2; 5]);
    recorded.verifies();
    recorded.says("After the upgrade").await;
    recorded.verifies();
    let open = recorded
        .text(
            "SELECT count(*) || '' FROM events AS e WHERE mac IS NULL AND position >= (SELECT \
             position FROM events WHERE engine_id = e.engine_id AND type = 'log.format_raised')",
        )
        .await;
    assert_eq!(open, "0", "every event since the raise has a MAC");
    let again = recorded.run(&["upgrade", "finish", "--json"]).exits(0).json();
    assert_eq!(again, serde_json::json!({"raised": [], "format": 2}));
    let status = recorded.run(&["upgrade", "status"]).exits(0);
    assert!(status.stdout.contains("The upgrade is finished."), "{status:?}");
}

#[tokio::test]
async fn an_event_forged_into_a_raised_log_is_refused() {
    let recorded = Recorded::migrated().await;
    recorded.run(&["upgrade", "finish"]).exits(0);
    recorded.forge().await;
    let found = recorded.run(&["audit", "verify"]).exits(1);
    assert!(found.stderr.contains("it has no MAC"), "{found:?}");
    let engine = Engine::builder()
        .llm(|_| async { Ok("It must not be called.") })
        .content_key(recorded.key.as_str())
        .open(recorded.database.url())
        .await
        .unwrap();
    let refused = engine.generate(Generate::new("Hello").moral_value(0.9)).await.unwrap_err();
    assert!(refused.to_string().contains("no MAC"), "{refused}");
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_upgrade_is_not_finished_while_a_server_has_the_file() {
    let recorded = Recorded::migrated().await;
    let server = Store::open(&Options::new(recorded.database.url())).await.unwrap();
    let refused = recorded.run(&["upgrade", "finish"]).exits(1);
    assert!(refused.stderr.contains("stop the server, run `mlsdm upgrade finish`"), "{refused:?}");
    recorded.run(&["upgrade", "status"]).exits(0);
    server.close().await;
}

#[tokio::test]
async fn an_upgrade_is_not_finished_while_a_replica_cannot_read_the_new_format() {
    let recorded = Recorded::migrated().await;
    let store = Store::open(&Options::new(recorded.database.url())).await.unwrap();
    let old = Heartbeat {
        replica: store.replica(),
        host: "alpha".to_owned(),
        version: "0.1.9".to_owned(),
        log_format: 1,
        rules: 1,
    };
    store.heartbeat(&old).await.unwrap();
    store.close().await;
    let status = recorded.run(&["upgrade", "status"]).exits(1);
    for command in [status, recorded.run(&["upgrade", "finish"]).exits(1)] {
        let said = "(version 0.1.9, host alpha) cannot read log format 2";
        assert!(command.stderr.contains(said), "{command:?}");
    }
    assert_eq!(recorded.text("SELECT max(log_format) || '' FROM engines").await, "1");
}
