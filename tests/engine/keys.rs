//! The server's own log on both databases, with the API keys: created once, followed by replicas, never
//! unloaded, restored after a restart.

use std::time::Duration;

use mlsdm::{
    domain::{
        budget::Amount,
        command::{CreateKey, Refusal, RevokeKey, RotateKey},
        digest,
        ids::{EngineId, KeyId, Sha256},
        keys::KeyGrant,
    },
    engine::{Caller, EngineError, Settings, StepError},
    store::{audit, writer::WriteError},
    testkit::app::{TestApp, TestSetup, caller, generate},
};

const ID: KeyId = KeyId::new(7);

fn create(id: KeyId) -> CreateKey {
    let grant = KeyGrant {
        name: "bot".to_owned(),
        roles: vec!["service".to_owned()],
        engines: vec!["default".to_owned()],
        expires_at: None,
        rate: None,
        budget: None,
    };
    CreateKey { id, hash: Sha256([1; 32]), grant, actor: "admin".to_owned() }
}

fn revoke(id: KeyId) -> RevokeKey {
    RevokeKey { id, actor: "admin".to_owned() }
}

async fn keys_are_restored(app: TestApp) {
    let system = app.engines.system().await.unwrap();
    let receipt = system.create_key(create(ID)).await.unwrap();
    assert_eq!(receipt.position, 2, "the first event is `engine.created`");
    let rotate =
        RotateKey { id: ID, hash: Sha256([2; 32]), grace_seconds: 60, actor: "admin".to_owned() };
    system.rotate_key(rotate).await.unwrap();
    let refused = system.create_key(create(ID)).await.unwrap_err();
    let EngineError::Write(WriteError::Refused(refusal)) = refused else { panic!("{refused}") };
    assert_eq!(refusal, Refusal::KeyExists);
    let before = digest::state(&system.view().state);
    drop(system);

    let app = app.restart().await;
    let system = app.engines.system().await.unwrap();
    assert_eq!(digest::state(&system.view().state), before);
    assert_eq!(system.view().state.keys.get(ID).unwrap().hash, Sha256([2; 32]));
    system.revoke_key(revoke(ID)).await.unwrap();
    let found =
        audit::verify(&app.engines.parts().store, &EngineId::system(), None, |_| {}).await.unwrap();
    assert!(found.first_bad.is_none() && found.verified == 4, "{found:?}");
    let engines = app.engines.list().await.unwrap();
    assert!(
        engines.iter().all(|(row, _)| !row.engine_id.is_system()),
        "the list of engines excludes it"
    );
}

#[tokio::test]
async fn keys_are_restored_from_sqlite() {
    keys_are_restored(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn keys_are_restored_from_postgresql() {
    keys_are_restored(TestApp::postgres().await).await;
}

/// Replicas that start at the same time create one log, and follow each other's events.
#[tokio::test]
async fn replicas_share_the_servers_log() {
    let one = TestApp::postgres().await;
    let other = one.replica().await;
    one.engines.start_background();
    other.engines.start_background();
    let (mine, theirs) = tokio::join!(one.engines.system(), other.engines.system());
    let (mine, theirs) = (mine.unwrap(), theirs.unwrap());
    mine.create_key(create(ID)).await.unwrap();
    let mut views = theirs.views();
    views.wait_for(|view| view.state.keys.get(ID).is_some()).await.unwrap();
    theirs.revoke_key(revoke(ID)).await.unwrap();
    let mut views = mine.views();
    views.wait_for(|view| view.state.keys.get(ID).is_none()).await.unwrap();
}

#[tokio::test]
async fn the_servers_log_is_not_unloaded() {
    let settings = Settings { idle_evict: Duration::ZERO, ..Settings::default() };
    let app = TestApp::sqlite_with(TestSetup { settings, ..TestSetup::default() }).await;
    app.engine().await;
    app.engines.system().await.unwrap();
    app.engines.unload_idle();
    let left = app.engines.in_memory();
    assert!(left.iter().all(|engine| engine.id().is_system()) && left.len() == 1);
}

/// The limit of a key counts for all end users that it acts for, in addition to their own budgets.
#[tokio::test]
async fn a_key_cannot_exceed_its_limit() {
    let app = TestApp::sqlite().await;
    let limit = Some(Amount { tokens: 20, cost_micro_usd: 0 });
    let by_key = |end_user: &str| Caller {
        end_user: Some(end_user.to_owned()),
        key_limit: limit,
        ..caller("key:7")
    };
    app.send(by_key("ann"), generate("Hello there")).await.unwrap();
    app.send(by_key("bob"), generate("Hello there")).await.unwrap();
    let refused = app.send(by_key("cid"), generate("Hello there")).await.unwrap_err();
    assert!(
        matches!(refused, StepError::Write(WriteError::Refused(Refusal::Budget { limit: 20, .. }))),
        "{refused}"
    );
    app.ask("cid", "Hello there").await.unwrap();
    let before = app.digest().await;
    let app = app.restart().await;
    assert_eq!(app.digest().await, before, "the log records the spent tokens");
    assert!(app.send(by_key("ann"), generate("Hello there")).await.is_err());
    app.pass(Duration::from_hours(24));
    app.send(by_key("ann"), generate("Hello there")).await.unwrap();
}
