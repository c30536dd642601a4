//! The key that authenticates events, and its rotation.

use mlsdm::{
    domain::ids::EngineId,
    store::Record,
    testkit::{app::TestApp, eventually},
};

async fn last(app: &TestApp, engine: &EngineId) -> Record {
    let records = app.engines.parts().store.read(engine, 0, 1_000).await.unwrap();
    records.into_iter().next_back().unwrap()
}

fn key_of(record: &Record) -> u32 {
    record.mac.expect("a log of format 2").key
}

#[tokio::test]
async fn a_rotated_key_authenticates_the_events_of_all_engines() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "Hello there").await.unwrap();
    assert_eq!(key_of(&last(&app, &EngineId::default()).await), 1);
    let rotation = app.engines.rotate_mac_key("root").await.unwrap();
    assert_eq!((rotation.id, rotation.failed.len()), (2, 0));
    let changed = last(&app, &EngineId::system()).await;
    let position = rotation.receipt.position;
    assert_eq!((changed.kind.as_str(), changed.position), ("mac_key.changed", position));
    assert_eq!(key_of(&changed), 1, "the key before authenticates the change");
    assert_eq!(rotation.rotated, [EngineId::default()]);
    let changed = last(&app, &EngineId::default()).await;
    assert_eq!((changed.kind.as_str(), key_of(&changed)), ("mac_key.changed", 2));
    app.ask("ann", "Hello again").await.unwrap();
    assert_eq!(key_of(&last(&app, &EngineId::default()).await), 2);

    let app = app.restart().await;
    app.ask("ann", "Hello once more").await.unwrap();
    assert_eq!(key_of(&last(&app, &EngineId::default()).await), 2);
}

#[tokio::test]
async fn a_running_replica_goes_over_to_a_rotated_key() {
    let one = TestApp::postgres().await;
    let other = one.replica().await;
    for app in [&one, &other] {
        app.engines.start_background();
        app.engines.system().await.unwrap();
    }
    other.ask("ann", "Hello there").await.unwrap();
    assert_eq!(key_of(&last(&other, &EngineId::default()).await), 1);
    one.engines.rotate_mac_key("root").await.unwrap();
    eventually("the other replica uses key 2", async || {
        other.ask("ann", "Hello again").await.map_err(|error| error.to_string())?;
        match key_of(&last(&other, &EngineId::default()).await) {
            2 => Ok(()),
            key => Err(format!("key {key}")),
        }
    })
    .await;
}
