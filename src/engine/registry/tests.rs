use super::*;
use crate::{
    domain::policy::Policy,
    testkit::{app::TestApp, eventually},
};

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
async fn a_load_waits_for_its_turn_and_the_engine_is_there_after_it() {
    let app = TestApp::sqlite().await;
    let [one, other] = ["one", "other"].map(|name| name.parse::<EngineId>().unwrap());
    for id in [&one, &other] {
        app.engines.create(id, Policy::default(), None, "ops").await.unwrap();
    }
    let others = app.engines.shared.loads.acquire_many(LOADS_MAX as u32).await.unwrap();
    let (engines, id) = (app.engines.clone(), one.clone());
    let waiting = tokio::spawn(async move { engines.get(&id).await.unwrap() });
    // a load that waits for no turn is over sooner than one that begins later
    eventually("the first load", async || {
        if app.engines.loaded().contains_key(&one) { Ok(()) } else { Err("it has not begun") }
    })
    .await;
    app.engines.load(&other).await.unwrap();
    assert!(app.engines.loaded()[&one].get().is_none());
    drop(others);
    assert_eq!(waiting.await.unwrap().id(), &one);
}
