//! Logs that version 0.1 recorded, verified completely. `tests/format1/record.py` made them.

use std::fs;

use mlsdm::{
    store::{Options, Store},
    testkit::{CommandOutput, TestDatabase, run_mlsdm},
};
use serde_json::Value;

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
