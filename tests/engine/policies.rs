//! The configured policy at startup: only fields that changed are applied.

use mlsdm::{
    domain::{command::ChangePolicy, policy::Policy},
    testkit::app::{TestApp, TestSetup},
};

fn configured(change: impl FnOnce(&mut Policy)) -> TestSetup {
    let mut policy = Policy::default();
    change(&mut policy);
    TestSetup { policy, ..TestSetup::default() }
}

async fn starts_with(app: TestApp, change: impl FnOnce(&mut Policy)) -> (TestApp, bool) {
    let setup = configured(change);
    let app = app.restart_with(setup.clone()).await;
    let drift = app.engines.ensure_default(&setup.policy).await.unwrap();
    (app, drift)
}

async fn operator_sets_top_k(app: &TestApp, top_k: usize) {
    let engine = app.engine().await;
    let mut policy = (*engine.view().state.policy).clone();
    policy.context.top_k = top_k;
    let (actor, reason) = ("operator".to_owned(), "a test".to_owned());
    let change = ChangePolicy { policy, actor, reason, config: None, evidence: None };
    engine.change_policy(change).await.unwrap();
}

#[tokio::test]
async fn an_unchanged_configuration_changes_nothing() {
    let app = TestApp::sqlite().await;
    operator_sets_top_k(&app, 9).await;
    let (app, drift) = starts_with(app, |_| {}).await;
    assert!(!drift);
    assert_eq!(app.kinds().await, ["engine.created", "policy.changed"]);
    assert_eq!(app.engine().await.view().state.policy.context.top_k, 9);
}

#[tokio::test]
async fn a_changed_configuration_does_not_revert_an_operators_changes() {
    let app = TestApp::sqlite().await;
    operator_sets_top_k(&app, 9).await;
    let (app, drift) = starts_with(app, |policy| policy.moral.share = 0.5).await;
    assert!(!drift);
    let policy = app.engine().await.view().state.policy.clone();
    assert_eq!((policy.context.top_k, policy.moral.share.to_bits()), (9, 0.5_f64.to_bits()));
    let record = app.log().await.pop().unwrap();
    assert_eq!((record.kind.as_str(), record.actor.as_deref()), ("policy.changed", Some("config")));
    // the same configuration does not revert a later change by the operator
    operator_sets_top_k(&app, 7).await;
    let (app, _) = starts_with(app, |policy| policy.moral.share = 0.5).await;
    assert_eq!(app.engine().await.view().state.policy.context.top_k, 7);
    let (app, _) = starts_with(app, |policy| {
        policy.moral.share = 0.5;
        policy.context.top_k = 3;
    })
    .await;
    assert_eq!(
        app.engine().await.view().state.policy.context.top_k,
        3,
        "a changed configuration replaces the operator's value"
    );
}

#[tokio::test]
async fn a_starting_replica_does_not_apply_its_configuration() {
    let app = TestApp::postgres().await;
    let (app, drift) = starts_with(app, |policy| policy.moral.share = 0.5).await;
    assert!(drift);
    assert_eq!(app.kinds().await, ["engine.created"]);
    let mut policy = Policy::default();
    policy.moral.share = 0.5;
    app.engine().await.apply_config(&policy, "operator", "migration").await.unwrap();
    let (_app, drift) = starts_with(app, |policy| policy.moral.share = 0.5).await;
    assert!(!drift);
}

#[tokio::test]
async fn a_change_of_a_fixed_field_is_refused_with_a_remedy() {
    let app = TestApp::sqlite().await;
    let app = app.restart().await;
    let policy = Policy { dimension: 64, ..Policy::default() };
    let refused = app.engines.ensure_default(&policy).await.unwrap_err().to_string();
    assert!(refused.contains("policy.dimension") && refused.contains("mlsdm engine migrate"));
    assert_eq!(app.kinds().await, ["engine.created"]);
}

#[tokio::test]
async fn the_configuration_changes_only_the_default_engine() {
    let app = TestApp::sqlite().await;
    let id = "other".parse().unwrap();
    app.engines.create(&id, Policy::default(), None, "test").await.unwrap();
    let (app, _) = starts_with(app, |policy| policy.context.top_k = 1).await;
    let other = app.engines.get(&id).await.unwrap();
    assert_eq!((other.view().state.position, other.view().state.policy.context.top_k), (1, 5));
    assert_eq!(app.engine().await.view().state.policy.context.top_k, 1);
}
