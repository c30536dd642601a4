use std::sync::Arc;

use mlsdm::{
    domain::{
        ids::{CommandId, EngineId, Position},
        policy::Policy,
        rules::Rules,
    },
    engine::verify::{Verification, verify},
    store::{Options, Record, Store, keys::ContentKey, state_fold::PAGE},
    testkit::{CONTENT_KEY, TestDatabase, run_mlsdm},
};
use serde_json::{Value, json};

use crate::log::{Copy, Process, clear, crowd, eventful};

async fn verified(database: &TestDatabase) -> (Position, Verification) {
    let store = Store::open_read_only(&Options::new(database.url())).await.unwrap();
    let key = Arc::new(ContentKey::from_text(CONTENT_KEY).unwrap());
    let mut seen = 0;
    let mut progress = |position| seen = position;
    let (folder, found) =
        verify(&store, &key, &EngineId::default(), Position::MAX, &mut progress).await.unwrap();
    store.close().await;
    assert!(found.damage.is_some() || folder.position() == seen, "{seen}");
    (folder.position(), found)
}

#[tokio::test]
async fn an_unmodified_log_is_verified() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let log = Copy::of(&database).await;
    for kind in [
        "engine.created",
        "policy.changed",
        "step.admitted",
        "step.rejected",
        "step.completed",
        "step.failed",
        "memory.consolidated",
        "memory.evicted",
        "engine.shutdown",
        "engine.resumed",
    ] {
        log.find(kind, |_| true);
    }
    let (head, found) = verified(&database).await;
    assert_eq!(found.first_divergence, None);
    assert_eq!((found.verified, found.unverifiable, found.divergent), (head, 0, 0));

    let replay = run_mlsdm(database.url(), &["replay", "--verify", "--json"], &[]).exits(0).json();
    let report = &replay["engines"][0];
    assert_eq!((&report["position"], &report["divergent"]), (&json!(head), &json!(0)));
    let last = &log.rows.last().unwrap().0;
    assert_eq!(report["chain_hash"], last.chain_hash.to_string());
    let until = ["replay", "--engine", "default", "--until", "9", "--json"];
    let early = run_mlsdm(database.url(), &until, &[]).exits(0).json();
    assert_eq!((&early["position"], early.get("divergent")), (&json!(9), None));
    let beyond = ["replay", "--engine", "default", "--until", "99999"];
    assert!(run_mlsdm(database.url(), &beyond, &[]).exits(1).stderr.contains("last event is at"));
    run_mlsdm(database.url(), &["replay", "--until", "9"], &[]).exits(2);
    run_mlsdm(database.url(), &["replay", "--engine", "nobody"], &[]).exits(1);
}

/// An alteration: event type, pointer, new value, and the field that the report must name.
type Alteration = (&'static str, fn(&Value) -> bool, &'static str, Value);

fn alterations() -> Vec<Alteration> {
    let any = |_: &Value| true;
    let stored = |e: &Value| e["memory"]["outcome"] == "stored";
    let evicting = |e: &Value| e["memory"].get("victim").is_some();
    vec![
        ("step.admitted", any, "/moral/threshold_before", json!(0.25)),
        ("step.admitted", any, "/moral/ema_after", json!(0.5)),
        ("step.admitted", any, "/moral/value", json!(0.75)),
        ("step.admitted", any, "/tick/counter", json!(3)),
        ("step.admitted", any, "/phase", json!("sleep")),
        ("step.admitted", any, "/policy_version", json!(9)),
        ("step.admitted", any, "/request/max_tokens", json!(4000)),
        ("step.rejected", any, "/reason", json!("sleep")),
        ("step.rejected", any, "/answer/memory_used_bytes", json!(1)),
        ("step.completed", any, "/admitted_position", json!(3)),
        ("step.completed", stored, "/memory/key", json!(1)),
        ("step.completed", evicting, "/memory/phase", json!(0.5)),
        ("step.completed", stored, "/trace_norms/2", json!(7.5)),
        ("step.completed", any, "/answer/moral_threshold", json!(0.75)),
        ("step.completed", any, "/withheld", json!(true)),
        ("step.failed", any, "/admitted_position", json!(1)),
        ("policy.changed", any, "/diff", json!(["moral.step"])),
    ]
}

#[tokio::test]
async fn an_altered_event_is_reported_with_position_and_field() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let log = Copy::of(&database).await;
    for (kind, holds, pointer, value) in alterations() {
        let mut altered = log.clone();
        let position = log.find(kind, holds);
        altered.set(position, pointer, value.clone());
        let (_, found) = verified(&altered.write().await).await;
        let first = found.first_divergence.unwrap_or_else(|| panic!("{kind} {pointer}"));
        assert_eq!(first.position, position, "{kind} {pointer}: {first:?}");
        let field = pointer[1..].replace('/', ".");
        // lists are compared as a whole
        let field = field.trim_end_matches(".2");
        assert_eq!(first.field, field, "{kind}: {first:?}");
        if !pointer.ends_with("/2") {
            assert_eq!(first.recorded, value, "{kind} {pointer}");
        }
        assert_ne!(first.recorded, first.recomputed);
    }
}

#[tokio::test]
async fn a_divergence_is_a_finding_of_the_command() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let mut log = Copy::of(&database).await;
    let position = log.find("step.rejected", |_| true);
    log.set(position, "/moral/threshold_before", json!(0.05));
    let altered = log.write().await;
    // the chain is consistent, so only verification finds the change
    run_mlsdm(altered.url(), &["audit", "verify"], &[]).exits(0);
    run_mlsdm(altered.url(), &["replay"], &[]).exits(0);
    let run = run_mlsdm(altered.url(), &["replay", "--verify", "--json"], &[]).exits(1);
    let first = run.json()["engines"][0]["first_divergence"].clone();
    assert_eq!(first["position"], position);
    assert_eq!(first["field"], "moral.threshold_before");
    assert_eq!(first["recorded"], 0.05);
    for part in [&format!("position {position}:"), "moral.threshold_before", "0.05"] {
        assert!(run.stderr.contains(part), "{run:?}");
    }
}

#[tokio::test]
async fn removed_and_inserted_events_are_found() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let log = Copy::of(&database).await;

    let mut shorter = log.clone();
    let consolidated = log.find("memory.consolidated", |_| true);
    // later events would name positions that have changed
    shorter.rows.truncate(consolidated as usize + 1);
    shorter.rows.remove(consolidated as usize - 1);
    let (_, found) = verified(&shorter.write().await).await;
    let first = found.first_divergence.unwrap();
    assert_eq!((first.position, first.field.as_str()), (consolidated, "type"));
    assert_eq!(first.recomputed, "memory.consolidated");

    let mut cut = log.clone();
    cut.rows.truncate(consolidated as usize - 1);
    let (_, found) = verified(&cut.write().await).await;
    assert_eq!(found.divergent, 1, "the events of a command are written together");

    let mut longer = log.clone();
    let mut again = log.rows[consolidated as usize - 1].clone();
    again.0.command_id = CommandId::new(7);
    longer.rows.truncate(consolidated as usize);
    longer.rows.push(again);
    let (_, found) = verified(&longer.write().await).await;
    let first = found.first_divergence.unwrap();
    assert_eq!((first.position, first.recomputed), (consolidated + 1, json!("nothing")));
}

/// An event without a command, appended to a log.
fn appended(log: &Copy, kind: &str, payload: &Value) -> Record {
    let last = &log.rows.last().unwrap().0;
    Record {
        command_id: CommandId::new(u128::from(last.position)),
        kind: kind.to_owned(),
        decide_version: Rules::NEWEST.version(),
        step: None,
        subject_ref: None,
        content_hash: None,
        payload: serde_json::to_vec(payload).unwrap(),
        ..last.clone()
    }
}

#[tokio::test]
async fn an_attested_digest_is_recomputed() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let log = Copy::of(&database).await;
    let report = run_mlsdm(database.url(), &["replay", "--engine", "default", "--json"], &[]);
    let digest = report.exits(0).json()["state_digest"].clone();
    for (digest, divergent) in [(digest, 0), (json!("00"), 1)] {
        let mut attested = log.clone();
        let event = appended(&log, "state.attested", &json!({ "digest": digest }));
        attested.rows.push((event, None));
        let (_, found) = verified(&attested.write().await).await;
        assert_eq!(found.divergent, divergent, "{found:?}");
    }
}

#[tokio::test]
async fn erased_content_is_unverifiable_and_not_divergent() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let mut log = Copy::of(&database).await;
    let completed = log.find("step.completed", |e| e["memory"]["outcome"] == "stored");
    let erased = log.rows[completed as usize - 1].0.subject_ref.unwrap();
    let payload = json!({ "subject_ref": erased, "actor": "root", "reason": "asked to" });
    let event = appended(&log, "subject.erased", &payload);
    let head = event.position;
    log.rows.push((event, None));
    for (record, content) in &mut log.rows {
        if record.subject_ref == Some(erased) {
            *content = None;
        }
    }
    log.subjects.retain(|subject| subject.subject_ref != erased);
    let mut altered = log.clone();
    let whole = log.write().await;
    let (_, found) = verified(&whole).await;
    assert_eq!((found.divergent, found.verified + found.unverifiable), (0, head + 1), "{found:?}");
    assert!(found.unverifiable > 0);
    run_mlsdm(whole.url(), &["replay", "--verify"], &[]).exits(0);

    // other fields are still verified
    altered.set(completed, "/answer/memory_used_bytes", json!(12));
    let (_, found) = verified(&altered.write().await).await;
    let first = found.first_divergence.unwrap();
    assert_eq!((first.position, first.field.as_str()), (completed, "answer.memory_used_bytes"));
}

#[tokio::test]
async fn events_of_unknown_rules_are_damage_that_names_the_binary_to_run() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let mut log = Copy::of(&database).await;
    let admitted = log.find("step.admitted", |_| true);
    log.rows[admitted as usize - 1].0.decide_version = Rules::NEWEST.version() + 1;
    let (end, found) = verified(&log.write().await).await;
    assert_eq!((end, found.unverifiable, found.divergent), (admitted - 1, 0, 0));
    let damage = found.damage.unwrap().to_string();
    let newer = format!("rules version {}", Rules::NEWEST.version() + 1);
    assert!(
        damage.contains(&newer) && damage.contains("run the mlsdm that recorded it"),
        "{damage}"
    );
}

#[tokio::test]
async fn a_log_of_several_pages_verifies() {
    let database = TestDatabase::sqlite();
    let process = Process::start(&database).await;
    let engine = process.default(&Policy { capacity: 100, ..Policy::default() }).await;
    crowd(&engine, PAGE as usize / 2 + 100).await;
    drop(engine);
    process.stop().await;
    let (head, found) = verified(&database).await;
    assert!(head > u64::from(PAGE));
    assert_eq!((found.verified, found.divergent), (head, 0), "{found:?}");
}

#[tokio::test]
async fn a_divergence_before_damage_is_reported() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let mut log = Copy::of(&database).await;
    let position = log.find("step.completed", |e| e["memory"].get("victim").is_some());
    log.set(position, "/memory/victim", json!(1));
    let broken = log.write().await;
    let run = run_mlsdm(broken.url(), &["replay", "--verify", "--json"], &[]).exits(1);
    let report = &run.json()["engines"][0];
    assert_eq!(report["first_divergence"]["field"], "memory.victim");
    assert_eq!(report["first_divergence"]["recorded"], 1);
    let error = report["error"].as_str().unwrap();
    assert!(error.contains(&format!("position {position}")), "{error}");
}

#[tokio::test]
async fn a_broken_chain_ends_the_replay_and_names_the_position() {
    let database = TestDatabase::sqlite();
    eventful(&database).await;
    let log = Copy::of(&database).await;
    let mut record = log.rows[2].0.clone();
    record.payload = serde_json::to_vec(&clear(&log.rows[3].0)).unwrap();
    let cut = Copy { rows: log.rows[..2].to_vec(), ..log };
    let broken = cut.write().await;
    let store = Store::open(&Options::new(broken.url())).await.unwrap();
    let mut append = store.begin(&EngineId::default()).await.unwrap();
    append.insert_events(&[record]).await.unwrap();
    append.commit().await.unwrap();
    store.close().await;
    let run = run_mlsdm(broken.url(), &["replay", "--verify"], &[]).exits(1);
    assert!(run.stderr.contains("position 3"), "{run:?}");
    let run = run_mlsdm(broken.url(), &["audit", "verify", "--json"], &[]).exits(1);
    let bad = &run.json()["engines"][0]["first_bad"];
    assert_eq!(bad["position"], 3);
    assert!(run.stderr.contains("position 3: a column was changed"), "{run:?}");
}
