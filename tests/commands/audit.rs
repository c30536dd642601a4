//! `mlsdm audit` with and without the content key, and `mlsdm keys`.

use mlsdm::{
    domain::policy::Policy,
    testkit::{TestDatabase, run_mlsdm},
};

use crate::log::Process;

const NO_KEY: [(&str, &str); 1] = [("MLSDM_CONTENT_KEY", "")];

async fn make_log(database: &TestDatabase) {
    let process = Process::start(database).await;
    drop(process.default(&Policy::default()).await);
    process.stop().await;
}

#[tokio::test]
async fn the_audit_says_whether_it_checked_the_authenticity() {
    let database = TestDatabase::sqlite();
    make_log(&database).await;
    let verify = ["audit", "verify"];
    let required = ["audit", "verify", "--require", "authenticity"];

    let with_key = run_mlsdm(database.url(), &required, &[]).exits(0);
    assert!(with_key.stdout.ends_with("authenticity: checked\n"), "{with_key:?}");
    let without = run_mlsdm(database.url(), &verify, &NO_KEY).exits(0);
    assert!(without.stdout.ends_with("authenticity: not checked (no key)\n"), "{without:?}");
    let refused = run_mlsdm(database.url(), &required, &NO_KEY).exits(1);
    assert!(refused.stderr.contains("MLSDM_CONTENT_KEY"), "{refused:?}");
    let json = run_mlsdm(database.url(), &[&verify[..], &["--json"]].concat(), &NO_KEY).exits(0);
    assert_eq!(json.json()["authenticity"], "not_checked");
}

#[tokio::test]
async fn an_event_without_a_mac_is_found_without_the_key_and_quarantined_with_it() {
    let database = TestDatabase::sqlite();
    make_log(&database).await;
    let rotated = run_mlsdm(database.url(), &["keys", "rotate-mac", "--json"], &[]).exits(0);
    assert_eq!(rotated.json()["mac_key"], 2);
    run_mlsdm(database.url(), &["keys", "rotate-mac"], &[]).exits(0);
    database.disable_triggers().await;
    let strip = "UPDATE events SET mac_key = NULL, mac = NULL WHERE engine_id = '_system' AND \
                 type = 'mac_key.changed' AND mac_key = 2";
    database.execute(strip).await.unwrap();
    let position = "SELECT CAST(max(position) AS TEXT) FROM events WHERE engine_id = '_system'";
    let position = database.query_text(position).await;

    let found = run_mlsdm(database.url(), &["audit", "verify"], &NO_KEY).exits(1);
    let place = format!("engine _system: position {position}: it has no MAC");
    assert!(found.stderr.contains(&place), "{found:?}");
    let order = |engine| {
        let place = ["--engine", engine, "--from", position.as_str()];
        [&["audit", "quarantine"], &place[..], &["--reason", "stripped"]].concat()
    };
    let intact = run_mlsdm(database.url(), &order("default"), &[]).exits(1);
    assert!(intact.stderr.contains("there is nothing to quarantine"), "{intact:?}");
    let done = run_mlsdm(database.url(), &order("_system"), &[]).exits(0);
    assert!(done.stdout.contains("events moved: 1, quarantine "), "{done:?}");
    let good = ["audit", "verify", "--require", "authenticity"];
    run_mlsdm(database.url(), &good, &[]).exits(0);
    run_mlsdm(database.url(), &["keys", "rotate-mac"], &[]).exits(0);
}
