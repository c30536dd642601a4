//! Logs that somebody edits under running engines: the engine becomes untrusted, and trusted again when its
//! log is good.

use std::{sync::Arc, time::Duration};

use mlsdm::{
    domain::{ids::EngineId, policy::Policy},
    engine::{Engine, EventFilter, Pace, Settings, StepError, step},
    store::{
        state_fold::{DamageCause, LogDamage},
        writer::WriteError,
    },
    testkit::{
        app::{TestApp, TestSetup, caller, generate},
        eventually, on_every_database,
    },
};
use tokio_util::sync::CancellationToken;

on_every_database!(
    TestApp:
    events_removed_from_the_end_make_a_running_engine_untrusted,
    a_replaced_last_event_makes_a_running_engine_untrusted,
    an_event_missing_at_the_start_leaves_the_state_before_it,
    an_engine_is_trusted_again_when_its_log_folds_on,
    a_command_finds_the_damage_that_nobody_polled,
    an_unreadable_row_stops_the_fold_before_it,
    an_untrusted_default_engine_does_not_stop_the_start,
    a_log_without_its_first_event_is_not_loaded,
);

/// Keeps events in a table of their own, from which [`put_back`] takes them.
async fn remove(app: &TestApp, positions: &str) {
    let database = app.database();
    database.disable_triggers().await;
    let of = format!("FROM events WHERE engine_id = 'default' AND position {positions}");
    let statements = format!("CREATE TABLE removed AS SELECT * {of}; DELETE {of}");
    database.execute(&statements).await.unwrap();
}

async fn put_back(app: &TestApp) {
    app.database().execute("INSERT INTO events SELECT * FROM removed").await.unwrap();
}

/// Waits until the engine is untrusted.
async fn damage(engine: &Engine) -> Arc<LogDamage> {
    eventually("damage", async || engine.damage().ok_or("the engine is trusted")).await
}

async fn trusted(engine: &Engine) {
    eventually("trust", async || {
        // as the follower does
        engine.catch_up();
        engine.damage().map_or(Ok(()), Err)
    })
    .await;
}

async fn refused(app: &TestApp) -> Arc<LogDamage> {
    let error = app.ask("ann", "Hello there").await.unwrap_err();
    let StepError::Write(WriteError::Untrusted(damage)) = error else { panic!("{error}") };
    damage
}

/// A step of another engine, which is trusted.
async fn another_engine_answers(app: &TestApp) {
    let id: EngineId = "other".parse().unwrap();
    if app.engines.get(&id).await.is_err() {
        app.engines.create(&id, Policy::default(), None, "test").await.unwrap();
    }
    let engine = app.engines.get(&id).await.unwrap();
    let alive = CancellationToken::new();
    step::run(&engine, &caller("ann"), &generate("Hello there"), None, &alive).await.unwrap();
}

async fn events_removed_from_the_end_make_a_running_engine_untrusted(app: TestApp) {
    for prompt in ["One", "Two"] {
        app.ask("ann", prompt).await.unwrap();
    }
    app.engines.start_background();
    let engine = app.engine().await;
    let before = app.digest().await;
    remove(&app, ">= 4").await;
    let damage = damage(&engine).await;
    assert_eq!(damage.position, 4);
    assert!(matches!(damage.cause, DamageCause::Removed { folded: 5 }), "{damage}");
    assert_eq!(refused(&app).await.position, 4);
    assert_eq!(app.digest().await, before, "the state can be read");
    another_engine_answers(&app).await;
    put_back(&app).await;
    trusted(&engine).await;
    app.ask("ann", "Three").await.unwrap();
}

async fn a_replaced_last_event_makes_a_running_engine_untrusted(app: TestApp) {
    app.ask("ann", "One").await.unwrap();
    app.engines.start_background();
    let engine = app.engine().await;
    app.database().disable_triggers().await;
    let replace = "UPDATE events SET chain_hash = leaf_hash \
                   WHERE engine_id = 'default' AND position = 3";
    app.database().execute(replace).await.unwrap();
    let damage = damage(&engine).await;
    assert_eq!(damage.position, 3);
    assert!(matches!(damage.cause, DamageCause::Replaced), "{damage}");
    another_engine_answers(&app).await;
}

async fn an_event_missing_at_the_start_leaves_the_state_before_it(app: TestApp) {
    for prompt in ["One", "Two"] {
        app.ask("ann", prompt).await.unwrap();
    }
    remove(&app, "= 3").await;
    let app = app.restart().await;
    let engine = app.engine().await;
    assert_eq!(engine.view().state.position, 2);
    let damage = refused(&app).await;
    assert_eq!(damage.position, 3);
    assert!(matches!(damage.cause, DamageCause::Gap { found: 4 }), "{damage}");
    assert_eq!(engine.view().state.open.size(), 1, "a step without an ending is not abandoned");
    another_engine_answers(&app).await;
    put_back(&app).await;
    trusted(&engine).await;
    assert_eq!(engine.view().state.position, 5);
    app.ask("ann", "Three").await.unwrap();
}

async fn an_engine_is_trusted_again_when_its_log_folds_on(app: TestApp) {
    app.ask("ann", "One").await.unwrap();
    app.engines.start_background();
    let engine = app.engine().await;
    // a copy of an event of this log: every column is genuine but the position
    let copied = "INSERT INTO events SELECT engine_id, position + 1, command_id, type, schema_version, \
                  decide_version, recorded_at, step, request_id, actor, subject_ref, trace_id, clear, \
                  content_hash, leaf_hash, chain_hash, mac_key, mac FROM events \
                  WHERE engine_id = 'default' AND position = 3";
    app.database().execute(copied).await.unwrap();
    let damage = damage(&engine).await;
    assert_eq!(damage.position, 4);
    assert!(matches!(damage.cause, DamageCause::Chain), "{damage}");
    assert_eq!(refused(&app).await.position, 4);
    let page = engine.events(&EventFilter::default(), 0, 10).await.unwrap();
    assert_eq!(page.events.len(), 3, "a forged event is not shown as one of the log");
    assert!(engine.event(3).await.is_ok() && engine.event(4).await.is_err());
    another_engine_answers(&app).await;
    remove(&app, "= 4").await;
    trusted(&engine).await;
    assert_eq!(app.ask("ann", "Two").await.unwrap().answer.step, 2);
}

async fn a_command_finds_the_damage_that_nobody_polled(app: TestApp) {
    for prompt in ["One", "Two"] {
        app.ask("ann", prompt).await.unwrap();
    }
    remove(&app, "= 5").await;
    let damage = refused(&app).await;
    assert_eq!(damage.position, 5);
    assert!(matches!(damage.cause, DamageCause::Removed { folded: 5 }), "{damage}");
    assert_eq!(app.model.requests().len(), 2, "the model was not called");
    assert_eq!(app.log().await.len(), 4, "nothing was appended");
}

async fn an_unreadable_row_stops_the_fold_before_it(app: TestApp) {
    for prompt in ["One", "Two"] {
        app.ask("ann", prompt).await.unwrap();
    }
    app.database().disable_triggers().await;
    let damage = "UPDATE events SET schema_version = -1 \
                  WHERE engine_id = 'default' AND position = 4";
    app.database().execute(damage).await.unwrap();
    let app = app.restart().await;
    assert_eq!(app.engine().await.view().state.position, 3);
    let damage = refused(&app).await;
    assert_eq!(damage.position, 4);
    assert!(matches!(damage.cause, DamageCause::Unreadable("schema_version")), "{damage}");
}

async fn an_untrusted_default_engine_does_not_stop_the_start(app: TestApp) {
    app.ask("ann", "One").await.unwrap();
    remove(&app, "= 2").await;
    let app = app.restart().await;
    let changed = Policy { capacity: 7, ..Policy::default() };
    // a changed policy would be applied to a trusted engine
    assert!(!app.engines.ensure_default(&changed).await.unwrap());
    let engine = app.engine().await;
    assert_eq!((engine.view().state.position, engine.view().state.policy_version), (1, 1));
    assert_eq!(engine.damage().unwrap().position, 2);
}

async fn a_log_without_its_first_event_is_not_loaded(app: TestApp) {
    app.ask("ann", "One").await.unwrap();
    remove(&app, "= 1").await;
    let app = app.restart().await;
    let error = app.engines.get(&EngineId::default()).await.err().unwrap().to_string();
    assert!(error.contains("position 1"), "{error}");
}

#[tokio::test]
async fn an_untrusted_engine_is_not_unloaded() {
    let settings = Settings { idle_evict: Duration::ZERO, ..Settings::default() };
    let app = TestApp::sqlite_with(TestSetup { settings, ..TestSetup::default() }).await;
    app.ask("ann", "One").await.unwrap();
    remove(&app, "= 3").await;
    refused(&app).await;
    // a replay would not miss the event
    app.engines.unload_idle();
    assert_eq!(refused(&app).await.position, 3);
    put_back(&app).await;
    trusted(&*app.engine().await).await;
    app.engines.unload_idle();
    assert!(app.engines.in_memory().is_empty());
}

#[tokio::test]
async fn a_damaged_row_of_an_engine_does_not_hide_the_others() {
    let pace = Pace { events_per_second: 1_000_000, round: Duration::from_millis(1) };
    let settings = Settings { audit: Some(pace), ..Settings::default() };
    let app = TestApp::sqlite_with(TestSetup { settings, ..TestSetup::default() }).await;
    app.ask("ann", "One").await.unwrap();
    let bad = "INSERT INTO engines (engine_id, created_at, log_format, index_key) \
               VALUES ('Bad Name!', 0, 1, x''), ('aaa', 0, -1, x'')";
    app.database().execute(bad).await.unwrap();
    let listed: Vec<_> =
        app.engines.list().await.unwrap().into_iter().map(|(row, _)| row).collect();
    assert_eq!(listed.len(), 1);
    app.engines.start_background();
    let engine = app.engine().await;
    remove(&app, "= 2").await;
    assert!(matches!(damage(&engine).await.cause, DamageCause::Audit(_)), "the audit goes on");
}

#[tokio::test]
async fn the_audit_makes_an_engine_untrusted_until_a_round_finds_nothing() {
    let pace = Pace { events_per_second: 1_000_000, round: Duration::from_millis(1) };
    let settings = Settings { audit: Some(pace), ..Settings::default() };
    let setup = TestSetup { settings, ..TestSetup::default() };
    let app = TestApp::sqlite_with(setup).await;
    for prompt in ["One", "Two"] {
        app.ask("ann", prompt).await.unwrap();
    }
    app.engines.start_background();
    let engine = app.engine().await;
    remove(&app, "= 3").await;
    let damage = damage(&engine).await;
    assert_eq!(damage.position, 4);
    assert!(matches!(damage.cause, DamageCause::Audit(_)), "{damage}");
    assert_eq!(refused(&app).await.position, 4);
    assert_eq!(engine.view().state.position, 5, "the state is the one before the removal");
    put_back(&app).await;
    trusted(&engine).await;
    app.ask("ann", "Three").await.unwrap();
}
