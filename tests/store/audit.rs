//! The audit accepts an intact log and detects any manipulation of its rows.

use mlsdm::{
    domain::ids::Position,
    store::{
        Content, Record,
        audit::{Finding, Inconsistency, Report, verify},
    },
    testkit::{TestStore, on_every_database},
};

use crate::events::{append, content, create, engine, event, insert_placed, place, step_event};

on_every_database!(
    TestStore and PgBouncer:
    a_log_is_clean,
    an_edit_of_any_column_is_detected,
    any_flipped_byte_is_detected,
    moved_rows_are_detected,
    manipulated_contents_are_detected,
    contents_of_an_erased_subject_may_be_missing,
    decreasing_time_is_detected,
    a_damaged_row_is_detected,
    an_engine_without_its_row_is_detected,
);

/// Saves a copy for [`RESTORE`].
const SAVE: &str = "CREATE TABLE saved_events AS SELECT * FROM events;
    CREATE TABLE saved_contents AS SELECT * FROM contents;";
const RESTORE: &str = "DELETE FROM events; INSERT INTO events SELECT * FROM saved_events;
    DELETE FROM contents; INSERT INTO contents SELECT * FROM saved_contents;";

/// The newest position of [`log`].
const HEAD: Position = 10;

fn steps() -> Vec<(Record, Option<Content>)> {
    (1..=3)
        .flat_map(|step| {
            [
                (step_event("step.admitted", step, 5), content("prompt", None)),
                (step_event("memory.consolidated", step, 5), None),
                (step_event("step.completed", step, 5), content("answer", Some(&[1, 2, 3]))),
            ]
        })
        .collect()
}

async fn log(test: &TestStore) {
    create(&test.store, &engine("e")).await;
    append(&test.store, &engine("e"), steps()).await;
    test.database.disable_triggers().await;
    test.database.execute(SAVE).await.unwrap();
}

async fn audit(test: &TestStore) -> Report {
    verify(&test.store, &engine("e"), None, |_| {}).await.unwrap()
}

/// Manipulates the log, expects the finding, and restores the log.
async fn expect(test: &TestStore, statements: &str, position: Position, what: Finding) {
    test.database.execute(statements).await.unwrap();
    let report = audit(test).await;
    assert_eq!(report.first_bad, Some(Inconsistency { position, what }), "{statements}");
    assert!(report.verified <= HEAD);
    test.database.execute(RESTORE).await.unwrap();
}

async fn a_log_is_clean(test: TestStore) {
    log(&test).await;
    append(&test.store, &engine("e"), vec![(event("x", "{}"), None); 300]).await;
    let mut seen = Vec::new();
    let report = verify(&test.store, &engine("e"), None, |at| seen.push(at)).await.unwrap();
    let head = test.store.head(&engine("e")).await.unwrap();
    assert_eq!(
        report,
        Report {
            engine: engine("e"),
            verified: 310,
            head: 310,
            chain_hash: head.chain_hash,
            first_bad: None
        }
    );
    assert_eq!(seen, [128, 256, 310]);
}

async fn an_edit_of_any_column_is_detected(test: TestStore) {
    log(&test).await;
    let other_id = if test.database.is_sqlite() { "zeroblob(16)" } else { "gen_random_uuid()" };
    let other_engine = "UPDATE events SET engine_id = 'f' WHERE position";
    let edits = [
        ("type", "type || ' '"),
        ("command_id", other_id),
        ("schema_version", "schema_version + 1"),
        ("decide_version", "decide_version - 1"),
        ("recorded_at", "recorded_at + 1"),
        ("step", "coalesce(step, 0) + 1"),
        ("request_id", "coalesce(request_id, '') || 'x'"),
        ("actor", "CASE WHEN actor IS NULL THEN '' ELSE NULL END"),
        ("subject_ref", other_id),
        ("trace_id", "CASE WHEN trace_id IS NULL THEN substr(leaf_hash, 1, 16) ELSE NULL END"),
        ("clear", "substr(clear, 2)"),
        ("content_hash", "leaf_hash"),
    ];
    for position in [1, 4, HEAD] {
        for (column, value) in edits {
            let edit = format!("UPDATE events SET {column} = {value} WHERE position = {position}");
            expect(&test, &edit, position, Finding::Leaf).await;
        }
        let edit = format!("UPDATE events SET leaf_hash = chain_hash WHERE position = {position}");
        expect(&test, &edit, position, Finding::Leaf).await;
        let edit = format!("UPDATE events SET chain_hash = leaf_hash WHERE position = {position}");
        expect(&test, &edit, position, Finding::Chain).await;
    }
    expect(&test, &format!("{other_engine} = 4"), 5, Finding::Gap).await;
    let dropped = "UPDATE events SET content_hash = NULL WHERE position = 4";
    expect(&test, dropped, 4, Finding::Leaf).await;
}

async fn any_flipped_byte_is_detected(test: TestStore) {
    log(&test).await;
    let columns = [
        ("events", "clear", Finding::Leaf),
        ("events", "content_hash", Finding::Leaf),
        ("events", "leaf_hash", Finding::Leaf),
        ("events", "chain_hash", Finding::Chain),
        ("events", "trace_id", Finding::Leaf),
        ("contents", "sealed", Finding::Content),
        ("contents", "vector", Finding::Content),
    ];
    for (table, column, what) in columns {
        let position = 7;
        let hex = if test.database.is_sqlite() { "hex(" } else { "encode(" };
        let end = if test.database.is_sqlite() { ")" } else { ", 'hex')" };
        let query = format!("SELECT {hex}{column}{end} FROM {table} WHERE position = {position}");
        let bytes = hex::decode(test.database.query_text(&query).await).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let flipped = hex::encode(flipped);
            let value = if test.database.is_sqlite() {
                format!("x'{flipped}'")
            } else {
                format!("'\\x{flipped}'")
            };
            let edit = format!("UPDATE {table} SET {column} = {value} WHERE position = {position}");
            expect(&test, &edit, position, what).await;
        }
    }
}

async fn moved_rows_are_detected(test: TestStore) {
    log(&test).await;
    for position in 1..HEAD {
        let delete = format!("DELETE FROM events WHERE position = {position}");
        expect(&test, &delete, position + 1, Finding::Gap).await;
        let swap = format!(
            "UPDATE events SET position = 1000 WHERE position = {position};
             UPDATE events SET position = {position} WHERE position = {position} + 1;
             UPDATE events SET position = {position} + 1 WHERE position = 1000"
        );
        expect(&test, &swap, position, Finding::Leaf).await;
    }
    let columns = "engine_id, position, command_id, type, schema_version, decide_version, \
        recorded_at, step, request_id, actor, subject_ref, trace_id, clear, content_hash, \
        leaf_hash, chain_hash";
    let copied = columns.replace(" position,", " position + 1,");
    let copy = format!("INSERT INTO events ({columns}) SELECT {copied} FROM events");
    expect(&test, &format!("{copy} WHERE position = {HEAD}"), HEAD + 1, Finding::Leaf).await;
    let shift = "UPDATE events SET position = -position WHERE position > 4;
        UPDATE events SET position = 1 - position WHERE position < 0;";
    let allow_negative = if test.database.is_sqlite() {
        "PRAGMA ignore_check_constraints = ON;".to_owned()
    } else {
        "ALTER TABLE events DROP CONSTRAINT events_position_positive;".to_owned()
    };
    let insert = format!("{allow_negative} {shift} {copy} WHERE position = 4");
    expect(&test, &insert, 5, Finding::Leaf).await;
    let truncated = format!(
        "DELETE FROM events WHERE position = {HEAD}; DELETE FROM contents WHERE position = {HEAD}"
    );
    test.database.execute(&truncated).await.unwrap();
    let report = audit(&test).await;
    assert_eq!(
        (report.verified, report.first_bad),
        (HEAD - 1, None),
        "needs a hash kept elsewhere"
    );
}

async fn manipulated_contents_are_detected(test: TestStore) {
    log(&test).await;
    for position in [2, 4, 5, 7, 8, HEAD] {
        let delete = format!("DELETE FROM contents WHERE position = {position}");
        expect(&test, &delete, position, Finding::ContentMissing).await;
    }
    let empty = "UPDATE contents SET vector = substr(sealed, 1, 0) WHERE position = 2";
    expect(&test, empty, 2, Finding::Content).await;
    let null = "UPDATE contents SET vector = NULL WHERE position = 4";
    expect(&test, null, 4, Finding::Content).await;
    let swap = "UPDATE contents SET position = 1000 WHERE position = 2;
        UPDATE contents SET position = 2 WHERE position = 4;
        UPDATE contents SET position = 4 WHERE position = 1000";
    expect(&test, swap, 2, Finding::Content).await;
    for (at, known) in [(3, 3), (HEAD + 5, HEAD + 5), (1, 1)] {
        let add = format!(
            "INSERT INTO contents (engine_id, position, sealed)
             SELECT engine_id, {at}, sealed FROM contents WHERE position = 2"
        );
        expect(&test, &add, known, Finding::ContentStray).await;
    }
}

async fn contents_of_an_erased_subject_may_be_missing(test: TestStore) {
    log(&test).await;
    let (store, name) = (&test.store, engine("e"));
    let of_subject_7 = vec![(step_event("step.admitted", 4, 7), content("prompt", None))];
    let position = append(store, &name, of_subject_7).await;
    delete_content(&test, position).await;
    let missing = Some(Inconsistency { position, what: Finding::ContentMissing });
    assert_eq!(audit(&test).await.first_bad, missing);
    append(store, &name, vec![erasure(7)]).await;
    assert_eq!(audit(&test).await.first_bad, None);

    delete_content(&test, 5).await;
    let missing = Some(Inconsistency { position: 5, what: Finding::ContentMissing });
    assert_eq!(audit(&test).await.first_bad, missing, "belongs to a different subject");
    for (subject, first_bad) in [(6, missing), (5, None)] {
        append(store, &name, vec![erasure(subject)]).await;
        assert_eq!(audit(&test).await.first_bad, first_bad, "erasure of subject {subject}");
    }
    let later = vec![(step_event("step.admitted", 5, 5), content("again", None))];
    let position = append(store, &name, later).await;
    delete_content(&test, position).await;
    let missing = Inconsistency { position, what: Finding::ContentMissing };
    assert_eq!(audit(&test).await.first_bad, Some(missing), "written after the erasure");
}

fn erasure(subject: u128) -> (Record, Option<Content>) {
    (event("subject.erased", &format!(r#"{{"subject_ref":"{subject:032x}"}}"#)), None)
}

async fn delete_content(test: &TestStore, position: Position) {
    let delete = format!("DELETE FROM contents WHERE position = {position}");
    test.database.execute(&delete).await.unwrap();
}

async fn decreasing_time_is_detected(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let mut transaction = store.begin(&name).await.unwrap();
    let placed = place(&name, transaction.head, 999, vec![(event("x", "{}"), None)]);
    insert_placed(&mut transaction, placed).await.unwrap();
    transaction.commit().await.unwrap();
    let falls = Inconsistency { position: 2, what: Finding::TimeFalls };
    assert_eq!(audit(&test).await.first_bad, Some(falls));
}

async fn a_damaged_row_is_detected(test: TestStore) {
    log(&test).await;
    let edit = "UPDATE events SET trace_id = substr(trace_id, 2) WHERE position = 7;";
    let unlock = if test.database.is_sqlite() {
        "PRAGMA ignore_check_constraints = ON;"
    } else {
        "ALTER TABLE events DROP CONSTRAINT events_trace_id_size;"
    };
    expect(&test, &format!("{unlock} {edit}"), 7, Finding::Unreadable("trace_id")).await;
}

async fn an_engine_without_its_row_is_detected(test: TestStore) {
    log(&test).await;
    test.database.execute("DELETE FROM engines").await.unwrap();
    let gone = Inconsistency { position: 0, what: Finding::NoEngine };
    assert_eq!(audit(&test).await.first_bad, Some(gone));
    create(&test.store, &engine("f")).await;
    test.database.execute("DELETE FROM events").await.unwrap();
    let report = verify(&test.store, &engine("f"), None, |_| {}).await.unwrap();
    assert_eq!(report.first_bad, Some(Inconsistency { position: 1, what: Finding::NoEngine }));
}
