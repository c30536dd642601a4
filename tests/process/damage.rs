//! Events that were edited, or that a newer binary wrote: the engine is untrusted, and its refusals name
//! the position of the event.

use mlsdm::{
    domain::ids::EngineId,
    store::{Options, Record, Store, chain, keys::ContentKey},
    testkit::{
        CONTENT_KEY, TestDatabase, TestEnv, TestResponse, TestServer, eventually,
        on_every_database, send,
    },
};
use serde_json::json;

use crate::{
    history::{History, verifies},
    metrics::{scrape, value},
};

on_every_database!(
    TestDatabase:
    engines_with_unreadable_events_are_refused_and_others_work,
    an_event_of_a_newer_binary_stops_a_running_engine,
    an_edited_event_is_found,
);

/// Engines, the damage to their event at position 2, and the words that the refusal has to contain.
const DAMAGE: [(&str, Damage, [&str; 2]); 5] = [
    ("unknown", Damage::Written(dreamt), ["position 2", "memory.dreamt"]),
    ("newer", Damage::Written(|event| event.schema_version = 7), ["position 2", "step.admitted"]),
    (
        "corrupt",
        Damage::Written(|event| event.payload.truncate(9)),
        ["position 2", "step.admitted"],
    ),
    ("edited", Damage::Edited("recorded_at = recorded_at + 1"), ["position 2", "chain"]),
    ("gap", Damage::Edited("position = 1000"), ["position 3", "gap"]),
];

#[derive(Clone, Copy)]
enum Damage {
    /// The event was written like this, with matching hashes; only its content is unknown.
    Written(fn(&mut Record)),
    /// The event was changed afterwards: its hashes no longer match.
    Edited(&'static str),
}

fn dreamt(event: &mut Record) {
    "memory.dreamt".clone_into(&mut event.kind);
}

/// The first two events of an engine: its creation and its first admission.
async fn first_events(url: &str, engine: &str) -> [Record; 2] {
    let store = Store::open_read_only(&Options::new(url)).await.unwrap();
    let engine: EngineId = engine.parse().unwrap();
    let events = store.read(&engine, 0, 2).await.unwrap();
    store.close().await;
    events.try_into().unwrap()
}

/// Changes an event in place, as the owner of the database can.
async fn tamper(database: &TestDatabase, statement: &str) {
    database.disable_triggers().await;
    database.execute(statement).await.unwrap();
}

/// A binary literal in the dialect of the database.
fn literal(database: &TestDatabase, bytes: &[u8]) -> String {
    if database.is_sqlite() {
        format!("x'{}'", hex::encode(bytes))
    } else {
        format!("decode('{}', 'hex')", hex::encode(bytes))
    }
}

async fn damage_second_event(database: &TestDatabase, engine: &str, damage: Damage) {
    let columns = match damage {
        Damage::Edited(columns) => columns.to_owned(),
        Damage::Written(change) => {
            let [before, mut event] = first_events(database.url(), engine).await;
            change(&mut event);
            let hashes = rehashed(database, engine, &before, &mut event).await;
            format!(
                "type = '{}', schema_version = {}, clear = {}, {hashes}",
                event.kind,
                event.schema_version,
                literal(database, &event.payload),
            )
        }
    };
    let place = format!("where engine_id = '{engine}' and position = 2");
    tamper(database, &format!("update events set {columns} {place}")).await;
}

/// The columns with the hashes and the MAC that an event has as it is.
async fn rehashed(
    database: &TestDatabase,
    engine: &str,
    before: &Record,
    event: &mut Record,
) -> String {
    let store = Store::open_read_only(&Options::new(database.url())).await.unwrap();
    let key = store.mac_key(&ContentKey::from_text(CONTENT_KEY).unwrap()).await.unwrap();
    store.close().await;
    chain::extend(&engine.parse().unwrap(), before.chain_hash, Some(&key), event);
    format!(
        "leaf_hash = {}, chain_hash = {}, mac_key = {}, mac = {}",
        literal(database, &event.leaf_hash.0),
        literal(database, &event.chain_hash.0),
        key.id(),
        literal(database, &event.mac.unwrap().tag),
    )
}

async fn create(server: &TestServer, engine: &str) {
    send(server.post("/v1/engines").json(&json!({"engine_id": engine}))).await.unwrap().ok();
    send(server.ask(engine, "ann", "My dog is called Rex")).await.unwrap().ok();
}

/// An error unless the reply refuses a command of an untrusted engine in these words.
fn refused(reply: &TestResponse, names: &[&str]) -> Result<(), String> {
    let detail = reply.body["detail"].as_str().unwrap_or_default();
    let is_named = names.iter().all(|name| detail.contains(name));
    let is_refusal = reply.status == 503 && reply.body["code"] == "E411" && is_named;
    is_refusal.then_some(()).ok_or_else(|| format!("{names:?} in {}", reply.body))
}

async fn engines_with_unreadable_events_are_refused_and_others_work(database: TestDatabase) {
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    for (engine, ..) in DAMAGE {
        create(&server, engine).await;
    }
    server.say("ann", "My dog is called Rex").await;
    server.stop().await;
    for (engine, damage, _) in DAMAGE {
        damage_second_event(&database, engine, damage).await;
    }

    let server = env.serve().await;
    for (engine, _, [position, cause]) in DAMAGE {
        let names = [engine, position, cause];
        let reply = send(server.ask(engine, "ann", "Who is there?")).await.unwrap();
        refused(&reply, &names).unwrap();
        assert!(!reply.header("retry-after").is_empty());
        assert!(server.state(engine).await["position"].as_u64() < Some(3), "it can be read");
        let folded = env.run(&["replay", "--engine", engine]).await.exits(1);
        assert!(names.iter().all(|name| folded.stderr.contains(name)), "{folded:?}");
    }
    let verify = env.run(&["audit", "verify"]).await.exits(1);
    assert!(["edited", "gap"].iter().all(|engine| verify.stdout.contains(engine)), "{verify:?}");
    let answer = server.say("ann", "What is my dog called?").await;
    assert_eq!(answer["context_items"], 1, "the default engine works: {answer}");
    server.stop().await;
}

/// The event arrives while the server has the engine in memory.
async fn an_event_of_a_newer_binary_stops_a_running_engine(database: TestDatabase) {
    let env = TestEnv::new(database.url());
    let server = env.serve().await;
    create(&server, "followed").await;
    let statement = "insert into events select engine_id, position + 1, command_id, \
         'memory.dreamt', schema_version, decide_version, recorded_at, step, request_id, actor, \
         subject_ref, trace_id, clear, null, leaf_hash, chain_hash, mac_key, mac from events \
         where engine_id = 'followed' and position = 3";
    tamper(&database, statement).await;
    rehash_last(&database).await;

    eventually("a refusal", async || {
        let reply = send(server.ask("followed", "ann", "Who is there?")).await.unwrap();
        refused(&reply, &["followed", "position 4", "memory.dreamt"])
    })
    .await;
    assert_eq!(server.state("followed").await["position"], 3, "the state before the event");
    server.say("ann", "Who is there?").await;
    server.stop().await;
}

/// Gives the event at position 4 valid hashes.
async fn rehash_last(database: &TestDatabase) {
    let store = Store::open_read_only(&Options::new(database.url())).await.unwrap();
    let engine: EngineId = "followed".parse().unwrap();
    let [before, mut event] = store.read(&engine, 2, 2).await.unwrap().try_into().unwrap();
    store.close().await;
    let columns = rehashed(database, "followed", &before, &mut event).await;
    let place = "where engine_id = 'followed' and position = 4";
    tamper(database, &format!("update events set {columns} {place}")).await;
}

async fn an_edited_event_is_found(database: TestDatabase) {
    let env = TestEnv::new(database.url())
        .with("MLSDM__AUDIT__ROUND_SECONDS", 1)
        .with("MLSDM__AUDIT__EVENTS_PER_SECOND", 1_000_000);
    let server = env.serve().await;
    for number in 0..5 {
        server.say("ann", &format!("Remember the number {number}")).await;
    }
    verifies(&env, "default").await;
    let history = History::read(&server, "default").await;
    let edited = history.of("step.completed")[2]["position"].as_u64().unwrap();
    let statement = format!(
        "update events set recorded_at = recorded_at + 1 \
         where engine_id = 'default' and position = {edited}"
    );
    tamper(&database, &statement).await;
    let found = env.run(&["audit", "verify", "--json"]).await.exits(1);
    assert!(found.stdout.contains(&edited.to_string()), "{found:?}");
    // the background audit of the server finds it in every round
    server.until_logged("audit.failed", 2).await;
    let log = server.log();
    let line = log.lines().find(|line| line.contains("audit.failed")).unwrap();
    assert!(line.contains(&format!("\"position\":{edited}")), "{line}");
    let text = scrape(&server).await;
    assert!(value(&text, "mlsdm_audit_failures_total{engine=\"default\"}") >= 1.0);
    let verified = value(&text, "mlsdm_audit_verified_position{engine=\"default\"}");
    assert_eq!(verified as u64, edited - 1);
    // a restart would refuse the event too, so the engine is untrusted
    let reply = send(server.ask("default", "ann", "Who is there?")).await.unwrap();
    refused(&reply, &["default", &format!("position {edited}"), "audit verify"]).unwrap();
    assert_eq!(value(&text, "mlsdm_engine_untrusted{engine=\"default\"}") as u64, 1);
    assert_eq!(value(&text, "mlsdm_engine_untrusted{engine=\"_system\"}") as u64, 0);
    // an intact log is trusted again
    tamper(&database, &statement.replace('+', "-")).await;
    eventually("an answer", async || {
        let reply = send(server.ask("default", "ann", "Who is there?")).await.unwrap();
        if reply.status == 200 { Ok(()) } else { Err(reply.body) }
    })
    .await;
    server.stop().await;
}
