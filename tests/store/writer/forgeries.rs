//! Events that no server of the deployment wrote: refused at the fold, with position and reason.

use std::sync::Arc;

use mlsdm::{
    domain::ids::{EngineId, Micros, Position, Sha256},
    store::{
        EventMac, Record, Store,
        audit::{self, Finding},
        chain,
        keys::ContentKey,
        quarantine::{Order, QuarantineError, quarantine},
        replay,
        state_fold::{DamageCause, LogDamage, ReplayError, StateFold},
        writer::WriteError,
    },
    testkit::{eventually, on_every_database},
};

use super::{
    fixture::{Prompt, TestLog, TestReplica, committed},
    tails::attested,
};

/// The MAC that an attacker gives to a row.
type Forgery<'a> = &'a dyn Fn(&Record) -> Option<EventMac>;

on_every_database!(
    TestLog:
    a_forged_event_is_refused_for_its_mac,
    an_edited_event_with_a_new_chain_is_refused,
    a_lowered_format_is_found,
    a_log_that_was_rewritten_in_format_1_is_found,
    a_replaced_mac_key_is_found,
    events_with_an_earlier_key_stay_valid,
    an_event_with_a_rotated_key_is_refused,
    forged_events_are_quarantined_and_the_log_goes_on,
    a_quarantine_refuses_authentic_events,
);

/// A time of the year 3000.
const FUTURE: Micros = 32_503_680_000_000_000;

/// Folds the log as a process that has read no key yet.
async fn load(fixture: &TestLog, store: &Store) -> Result<StateFold, LogDamage> {
    let (engine, key) = (fixture.engine.clone(), Arc::clone(&fixture.key));
    let mut fold = StateFold::new(engine.clone(), key, Arc::default());
    let end = Position::MAX;
    match replay::advance(store, &mut fold, &engine, end, &mut |_| {}).await {
        Ok(()) => Ok(fold),
        Err(ReplayError::Damage(damage)) => Err(*damage),
        Err(ReplayError::Store(error)) => panic!("{error}"),
    }
}

async fn finding(fixture: &TestLog, store: &Store, key: Option<&ContentKey>) -> Option<Finding> {
    let report = audit::verify(store, &fixture.engine, key, |_| {}).await.unwrap();
    report.first_bad.map(|bad| bad.what)
}

/// A binary literal in the dialect of the database.
fn literal(fixture: &TestLog, bytes: &[u8]) -> String {
    let hex = hex::encode(bytes);
    if fixture.database.is_sqlite() { format!("x'{hex}'") } else { format!("'\\x{hex}'") }
}

/// Appends an event with valid hashes, and the MAC that `forge` makes of it, without the store: only a
/// process of the deployment writes through it.
async fn forge(
    fixture: &TestLog,
    store: &Store,
    forge: impl Fn(&Record) -> Option<EventMac>,
) -> Position {
    let head = store.head(&fixture.engine).await.unwrap();
    let mut record = attested();
    record.position = head.position + 1;
    // a time that would shift the log's clock for ever
    record.recorded_at = FUTURE;
    chain::extend(&fixture.engine, head.chain_hash, None, &mut record);
    record.mac = forge(&record);
    let id = record.command_id.get().to_be_bytes();
    let id = if fixture.database.is_sqlite() {
        literal(fixture, &id)
    } else {
        format!("'{}'", hex::encode(id))
    };
    let (key, mac) = mac_columns(fixture, record.mac);
    let insert = format!(
        "INSERT INTO events (engine_id, position, command_id, type, schema_version, decide_version, \
         recorded_at, clear, leaf_hash, chain_hash, mac_key, mac) VALUES ('{}', {}, {id}, '{}', {}, {}, \
         {}, {}, {}, {}, {key}, {mac})",
        fixture.engine,
        record.position,
        record.kind,
        record.schema_version,
        record.decide_version,
        record.recorded_at,
        literal(fixture, &record.payload),
        literal(fixture, &record.leaf_hash.0),
        literal(fixture, &record.chain_hash.0),
    );
    fixture.database.execute(&insert).await.unwrap();
    record.position
}

/// The values of the columns `mac_key` and `mac`.
fn mac_columns(fixture: &TestLog, mac: Option<EventMac>) -> (String, String) {
    match mac {
        Some(mac) => (mac.key.to_string(), literal(fixture, &mac.tag)),
        None => ("NULL".to_owned(), "NULL".to_owned()),
    }
}

async fn remove_from(fixture: &TestLog, position: Position) {
    fixture.database.disable_triggers().await;
    let delete = format!("DELETE FROM events WHERE position >= {position}");
    fixture.database.execute(&delete).await.unwrap();
}

/// Writes events in place of those that have their positions, with the given MACs.
async fn rewrite(fixture: &TestLog, store: &Store, rows: &mut [Record]) {
    let mut chain_hash = chain::genesis(&fixture.engine);
    for record in rows.iter_mut() {
        let mac = record.mac;
        chain::extend(&fixture.engine, chain_hash, None, record);
        (chain_hash, record.mac) = (record.chain_hash, mac);
    }
    fixture.database.disable_triggers().await;
    fixture.database.execute("DELETE FROM events WHERE position > 1").await.unwrap();
    let mut append = store.begin(&fixture.engine).await.unwrap();
    append.insert_events(&rows[1..]).await.unwrap();
    append.commit().await.unwrap();
    let first = &rows[0];
    let (key, mac) = mac_columns(fixture, first.mac);
    let update = format!(
        "UPDATE events SET clear = {}, leaf_hash = {}, chain_hash = {}, mac_key = {key}, mac = {mac} \
         WHERE position = 1",
        literal(fixture, &first.payload),
        literal(fixture, &first.leaf_hash.0),
        literal(fixture, &first.chain_hash.0),
    );
    fixture.database.execute(&update).await.unwrap();
}

/// Waits until the writer has found that the log folds on.
async fn trusts(replica: &TestReplica) {
    eventually("the writer trusts the log", async || {
        replica.writer.catch_up();
        replica.writer.damage().map_or(Ok(()), |damage| Err(damage.to_string()))
    })
    .await;
}

async fn refusal(fixture: &TestLog, replica: &TestReplica) -> Arc<LogDamage> {
    let refused = replica.admit(fixture, Prompt { by: "s", text: "x", key: None }).await;
    let Err(WriteError::Untrusted(damage)) = refused else { panic!("{refused:?}") };
    damage
}

async fn a_forged_event_is_refused_for_its_mac(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    let store = &replica.store;
    let key = store.mac_key(&fixture.key).await.unwrap();
    let last = fixture.log(&replica).await.pop().unwrap();
    let other: EngineId = "other".parse().unwrap();
    let forgeries: [(Forgery<'_>, Finding, &str); 5] = [
        (&|_| None, Finding::MacMissing, "no MAC"),
        (&|_| last.mac, Finding::Mac, "MAC is invalid"),
        (&|r| Some(key.sign(&other, r.position, r.chain_hash)), Finding::Mac, "MAC is invalid"),
        (
            &|r| Some(key.sign(&fixture.engine, r.position - 1, r.chain_hash)),
            Finding::Mac,
            "MAC is invalid",
        ),
        (&|_| Some(EventMac { key: 9, tag: [0; 32] }), Finding::MacKey(9), "MAC key 9 is missing"),
    ];
    for (mac, found, reason) in forgeries {
        let position = forge(&fixture, store, mac).await;
        let damage = refusal(&fixture, &replica).await;
        let said = damage.to_string();
        assert_eq!(damage.position, position, "{said}");
        assert!(said.contains(reason), "{said}");
        let damage = load(&fixture, store).await.err().unwrap();
        assert_eq!(damage.position, position);
        assert!(damage.to_string().contains(reason), "{damage}");
        assert_eq!(finding(&fixture, store, Some(&fixture.key)).await, Some(found));
        let without_key = (found == Finding::MacMissing).then_some(found);
        assert_eq!(finding(&fixture, store, None).await, without_key);
        remove_from(&fixture, position).await;
        trusts(&replica).await;
    }
    assert_eq!(finding(&fixture, store, Some(&fixture.key)).await, None);
    replica.step(&fixture, "s", "after").await;
    fixture.assert_replays(&replica).await;
}

async fn an_edited_event_with_a_new_chain_is_refused(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    replica.step(&fixture, "s", "again").await;
    let mut rows = fixture.log(&replica).await;
    rows[2].actor = Some("somebody else".to_owned());
    rewrite(&fixture, &replica.store, &mut rows).await;
    let damage = load(&fixture, &replica.store).await.err().unwrap();
    assert_eq!(damage.position, 3, "{damage}");
    assert!(matches!(damage.cause, DamageCause::Mac), "{damage}");
    assert_eq!(finding(&fixture, &replica.store, None).await, None, "its chain is valid");
    assert_eq!(finding(&fixture, &replica.store, Some(&fixture.key)).await, Some(Finding::Mac));
}

async fn a_lowered_format_is_found(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    fixture.database.execute("UPDATE engines SET log_format = 1").await.unwrap();
    let row = replica.store.engine(&fixture.engine).await.unwrap().unwrap();
    assert_eq!(fixture.key.unwrap_index_key(&row).unwrap().1, 2, "whatever the column says");
    let found = finding(&fixture, &replica.store, None).await;
    assert_eq!(found, Some(Finding::Format { row: 1, found: 2 }));
    let found = finding(&fixture, &replica.store, Some(&fixture.key)).await;
    assert_eq!(found, Some(Finding::FormatColumn { row: 1, written: 2 }));
    // a MAC is required nevertheless
    let position = forge(&fixture, &replica.store, |_| None).await;
    assert_eq!(load(&fixture, &replica.store).await.err().unwrap().position, position);
}

async fn a_log_that_was_rewritten_in_format_1_is_found(fixture: TestLog) {
    let replica = fixture.replica().await;
    let mut rows = fixture.log(&replica).await;
    let created = String::from_utf8(rows[0].payload.clone()).unwrap();
    rows[0].payload = created.replace("\"log_format\":2", "\"log_format\":1").into_bytes();
    rows[0].mac = None;
    assert_ne!(rows[0].payload, created.into_bytes());
    rewrite(&fixture, &replica.store, &mut rows).await;
    let fold = load(&fixture, &replica.store).await.unwrap();
    let row = replica.store.engine(&fixture.engine).await.unwrap().unwrap();
    let (_, written) = fixture.key.unwrap_index_key(&row).unwrap();
    let damage = fold.check_log_format(written).unwrap_err();
    assert_eq!(damage.position, 1);
    assert!(damage.to_string().contains("the log was replaced"), "{damage}");
    let found = finding(&fixture, &replica.store, None).await;
    assert_eq!(found, Some(Finding::Format { row: 2, found: 1 }));
}

async fn a_replaced_mac_key_is_found(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    let (_, foreign) = ContentKey::from_text(&"77".repeat(32)).unwrap().make_mac_key(1).unwrap();
    let hex = hex::encode(foreign);
    let bytes =
        if fixture.database.is_sqlite() { format!("x'{hex}'") } else { format!("'\\x{hex}'") };
    let update = format!("UPDATE mac_keys SET wrapped_key = {bytes}");
    fixture.database.execute(&update).await.unwrap();
    let damage = load(&fixture, &replica.store).await.err().unwrap();
    assert_eq!(damage.position, 1);
    assert!(matches!(damage.cause, DamageCause::MacKey { key: 1 }), "{damage}");
    // a process that has the key goes on
    replica.step(&fixture, "s", "after").await;
}

/// Makes a key and lets this process use it, as if it had read `mac_key.changed`.
async fn use_next_key(fixture: &TestLog, store: &Store, id: u32) {
    assert_eq!(store.make_mac_key(&fixture.key).await.unwrap(), id);
    store.mac_ring().open(&fixture.key, &store.mac_key_rows(&[id]).await.unwrap());
}

async fn events_with_an_earlier_key_stay_valid(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    use_next_key(&fixture, &replica.store, 2).await;
    replica.step(&fixture, "s", "after").await;
    let keys: Vec<u32> = fixture.log(&replica).await.iter().map(|r| r.mac.unwrap().key).collect();
    assert_eq!(keys, [1, 1, 1, 2, 2]);
    // a fold that has read neither key
    load(&fixture, &replica.store).await.unwrap();
    assert_eq!(finding(&fixture, &replica.store, Some(&fixture.key)).await, None);
    if !replica.store.has_one_owner() {
        let other = fixture.replica().await;
        use_next_key(&fixture, &replica.store, 3).await;
        replica.step(&fixture, "s", "with key 3").await;
        other.step(&fixture, "s", "read once more").await;
        fixture.assert_replays(&other).await;
    }
}

async fn an_event_with_a_rotated_key_is_refused(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    let leaked = replica.store.mac_ring().get(1).unwrap();
    use_next_key(&fixture, &replica.store, 2).await;
    replica.step(&fixture, "s", "after").await;
    let sign =
        |record: &Record| Some(leaked.sign(&fixture.engine, record.position, record.chain_hash));
    let position = forge(&fixture, &replica.store, &sign).await;
    let expected =
        |cause: &DamageCause| matches!(cause, DamageCause::MacKeyRetired { key: 1, least: 2 });
    let damage = load(&fixture, &replica.store).await.err().unwrap();
    assert!(damage.position == position && expected(&damage.cause), "{damage}");
    let damage = refusal(&fixture, &replica).await;
    assert!(damage.position == position && expected(&damage.cause), "{damage}");
    let found = finding(&fixture, &replica.store, Some(&fixture.key)).await;
    assert_eq!(found, Some(Finding::MacKeyRetired { key: 1, least: 2 }));
}

fn order(fixture: &TestLog, from: Position, accept_loss: bool) -> Order {
    let engine = fixture.engine.clone();
    Order { engine, from, accept_loss, actor: "root".to_owned(), reason: "forged".to_owned() }
}

async fn forged_events_are_quarantined_and_the_log_goes_on(fixture: TestLog) {
    let replica = fixture.replica().await;
    let completed = replica.step(&fixture, "s", "before").await;
    let head = completed.events.last().unwrap().0.position;
    let from = forge(&fixture, &replica.store, |_| None).await;
    forge(&fixture, &replica.store, |_| None).await;
    let content = format!(
        "INSERT INTO contents (engine_id, position, sealed) SELECT engine_id, {from}, sealed \
         FROM contents WHERE position = {head}"
    );
    fixture.database.execute(&content).await.unwrap();
    assert_eq!(refusal(&fixture, &replica).await.position, from);

    let store = &replica.store;
    let done = quarantine(store, &fixture.key, &order(&fixture, from, false)).await.unwrap();
    assert_eq!((done.events, done.position), (2, from));
    assert!(matches!(done.damage.unwrap().cause, DamageCause::MacMissing));
    let moved = "SELECT count(*) || ' ' || count(sealed) || ' ' || min(position) \
                 FROM quarantined_events";
    assert_eq!(fixture.database.query_text(moved).await, format!("2 1 {from}"));

    // the process that had refused the events goes on by itself
    trusts(&replica).await;
    replica.step(&fixture, "s", "after").await;
    fixture.assert_replays(&replica).await;
    let log = fixture.log(&replica).await;
    assert_eq!(log[from as usize - 1].kind, "log.recovered");
    assert!(log.iter().all(|record| record.recorded_at < FUTURE), "the forged time counts no more");
    load(&fixture, store).await.unwrap();
    assert_eq!(finding(&fixture, store, Some(&fixture.key)).await, None);
}

/// The forger's process is not the server's. SQLite has one process.
#[tokio::test]
async fn a_forged_time_moves_the_clock_of_no_server() {
    const FAR: i64 = i64::MAX - 1;
    let fixture = TestLog::postgres().await;
    let (replica, forger) = (fixture.replica().await, fixture.replica().await);
    replica.step(&fixture, "s", "before").await;
    let mut append = forger.store.begin(&fixture.engine).await.unwrap();
    let mut record = attested();
    record.position = append.head.position + 1;
    record.recorded_at = FAR;
    chain::extend(&fixture.engine, append.head.chain_hash, None, &mut record);
    append.insert_events(std::slice::from_ref(&record)).await.unwrap();
    append.commit().await.unwrap();
    assert_eq!(refusal(&fixture, &replica).await.position, record.position);
    let order = order(&fixture, record.position, false);
    quarantine(&replica.store, &fixture.key, &order).await.unwrap();
    trusts(&replica).await;
    replica.step(&fixture, "s", "after").await;
    let newest = fixture.log(&replica).await.pop().unwrap();
    assert!(newest.recorded_at < FAR / 2, "{}", newest.recorded_at);
}

async fn a_quarantine_refuses_authentic_events(fixture: TestLog) {
    let replica = fixture.replica().await;
    replica.step(&fixture, "s", "before").await;
    let (store, key) = (&replica.store, &fixture.key);
    let head = store.head(&fixture.engine).await.unwrap().position;
    let refused = async |from, accept_loss| {
        let order = order(&fixture, from, accept_loss);
        quarantine(store, key, &order).await.unwrap_err()
    };
    assert!(matches!(refused(head, false).await, QuarantineError::Intact { .. }));
    assert!(matches!(refused(head, true).await, QuarantineError::Intact { .. }));
    assert!(matches!(refused(head + 1, false).await, QuarantineError::Intact { .. }));
    assert!(matches!(refused(head + 2, true).await, QuarantineError::AfterEnd { .. }));
    assert!(matches!(refused(1, true).await, QuarantineError::FirstEvent(_)));
    let forged = forge(&fixture, store, |_| None).await;
    let after = refused(forged + 1, false).await;
    assert!(matches!(&after, QuarantineError::DamagedBefore(_)), "{after}");
    assert!(after.to_string().ends_with(&format!("use --from {forged}")), "{after}");
    let before = refused(forged - 1, true).await;
    assert!(matches!(&before, QuarantineError::DamagedAfter(_)), "{before}");
    assert!(before.to_string().ends_with(&format!("use --from {forged}")), "{before}");
    assert_eq!(store.head(&fixture.engine).await.unwrap().position, forged, "nothing was moved");

    quarantine(store, key, &order(&fixture, forged, false)).await.unwrap();
    // no role may delete events afterwards either
    let delete = fixture.database.execute("DELETE FROM events").await.unwrap_err().to_string();
    assert!(delete.contains("never changed or deleted"), "{delete}");
    // a log whose end was lost
    let done = quarantine(store, key, &order(&fixture, forged + 1, true)).await.unwrap();
    assert_eq!((done.id, done.events, done.position), (None, 0, forged + 1));
    let admitted = replica.admit(&fixture, Prompt { by: "s", text: "on", key: None }).await;
    assert_eq!(committed(admitted).events[0].0.position, forged + 2);
    assert_ne!(done.chain_hash, Sha256::default());
}
