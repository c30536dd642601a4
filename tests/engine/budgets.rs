//! Budgets of data subjects, kept by all processes together.

use std::time::Duration;

use futures_util::future::join_all;
use mlsdm::{
    domain::{
        command::{BudgetUnit, Refusal},
        ids::{EngineId, Position},
        policy::{Budget, Policy},
    },
    engine::{Caller, StepError, StepRequest, verify::verify},
    store::writer::WriteError,
    testkit::app::{Reaction, TestApp, TestSetup, caller, generate},
};

/// Tokens a day.
const LIMIT: u64 = 1_000;

/// Tokens of one step of the scripted model.
const STEP: u64 = 18;

const CLIENTS: usize = 50;

fn limited(budget: Budget) -> TestSetup {
    TestSetup { policy: Policy { budget, ..Policy::default() }, ..TestSetup::default() }
}

fn daily() -> TestSetup {
    limited(Budget { tokens: LIMIT, ..Budget::default() })
}

/// A step that reserves what it uses: a prompt of 3 tokens and an answer of at most 15.
fn modest() -> StepRequest {
    StepRequest { context_top_k: Some(0), max_tokens: Some(15), ..generate("Hello there") }
}

fn refused_by_budget(error: &StepError) -> bool {
    matches!(error, StepError::Write(WriteError::Refused(Refusal::Budget { .. })))
}

/// Asks until the budget refuses: the number of answers.
async fn until_refused(app: &TestApp, who: &Caller) -> u64 {
    let mut answers = 0;
    loop {
        match app.send(who.clone(), modest()).await {
            Ok(told) => answers += u64::from(told.answer.accepted),
            Err(error) => {
                assert!(refused_by_budget(&error), "{error}");
                return answers;
            }
        }
    }
}

#[tokio::test]
async fn clients_of_two_replicas_stop_within_one_step_of_the_limit() {
    let one = TestApp::postgres_with(daily()).await;
    let other = one.replica().await;
    let ann = caller("ann");
    let clients = (0..CLIENTS).map(|n| until_refused(if n % 2 == 0 { &one } else { &other }, &ann));
    let answers: u64 = join_all(clients).await.into_iter().sum();
    let spent = answers * STEP;
    assert!((LIMIT..LIMIT + STEP).contains(&spent), "{spent}");

    // what was refused is not in the log: an admission and an ending for each answer, and no more
    let log = one.log().await;
    let steps = log.iter().filter(|record| record.step.is_some()).count() as u64;
    assert_eq!(steps, 2 * answers);
    // somebody else has a budget of her own
    assert!(other.send(caller("bob"), modest()).await.unwrap().answer.accepted);

    let parts = one.engines.parts();
    let (id, end) = (EngineId::default(), Position::MAX);
    let (_, found) = verify(&parts.store, &parts.content_key, &id, end, &mut |_| {}).await.unwrap();
    assert_eq!((found.divergent, found.unverifiable), (0, 0), "{:?}", found.first_divergence);
}

#[tokio::test]
async fn a_restart_and_a_day_later() {
    let app = TestApp::sqlite_with(daily()).await;
    until_refused(&app, &caller("ann")).await;
    let before = app.digest().await;
    let app = app.restart().await;
    assert_eq!(app.digest().await, before);
    let refused = app.send(caller("ann"), modest()).await.unwrap_err();
    assert!(refused_by_budget(&refused), "{refused}");
    assert_eq!(app.digest().await, before, "the refusal leaves no event");

    let spent = app.engine().await.state("ann").await.unwrap().budget.unwrap();
    assert!(spent.spent.tokens >= LIMIT, "{spent:?}");
    assert_eq!((spent.limit.tokens, spent.reserved.tokens), (LIMIT, 0));
    assert_eq!(spent.window_ends_at, "2023-11-15T00:00:00Z");
    let nobody = app.engine().await.state("bob").await.unwrap().budget.unwrap();
    assert_eq!(nobody.spent.tokens, 0);

    app.pass(Duration::from_hours(24));
    let anew = app.engine().await.state("ann").await.unwrap().budget.unwrap();
    assert_eq!((anew.spent.tokens, anew.window_ends_at.as_str()), (0, "2023-11-16T00:00:00Z"));
    assert!(app.send(caller("ann"), modest()).await.unwrap().answer.accepted);
}

#[tokio::test]
async fn the_model_is_asked_for_no_more_than_is_left() {
    let app = TestApp::sqlite_with(limited(Budget { tokens: 20, ..Budget::default() })).await;
    let greedy = StepRequest { max_tokens: Some(500), ..modest() };
    app.send(caller("ann"), greedy).await.unwrap();
    assert_eq!(app.model.requests()[0].max_tokens, 17);
}

#[tokio::test]
async fn a_running_step_holds_its_share() {
    let app = TestApp::sqlite_with(daily()).await;
    app.model.script([Reaction::Hang]);
    let greedy = StepRequest { max_tokens: Some(1_000), ..modest() };
    let holds = app.send(caller("ann"), greedy);
    let asks = async {
        app.model.asked(1).await;
        let refused = app.send(caller("ann"), modest()).await.unwrap_err();
        assert!(refused_by_budget(&refused), "{refused}");
    };
    tokio::select! {
        _ = holds => panic!("the model never answers"),
        () = asks => {}
    }
}

#[tokio::test]
async fn a_cost_budget_refuses_models_without_a_price() {
    let budget = Budget { cost_micro_usd: 1_000_000, ..Budget::default() };
    let app = TestApp::sqlite_with(limited(budget)).await;
    let refused = app.send(caller("ann"), modest()).await.unwrap_err();
    assert!(
        matches!(refused, StepError::Write(WriteError::Refused(Refusal::NoPrice))),
        "{refused}"
    );
    assert_eq!(BudgetUnit::MicroUsd.to_string(), "micro-USD");
}

#[tokio::test]
async fn a_configured_budget_reaches_an_engine_that_had_none_and_leaves_it_again() {
    let mut app = TestApp::sqlite().await;
    for setup in [daily(), TestSetup::default()] {
        let configured = setup.policy.clone();
        app = app.restart_with(setup).await;
        app.engines.ensure_default(&configured).await.unwrap();
        assert_eq!(app.engine().await.view().state.policy.budget, configured.budget);
    }
    assert_eq!(app.kinds().await, ["engine.created", "policy.changed", "policy.changed"]);
}
