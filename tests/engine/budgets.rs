//! Budgets of data subjects, which all replicas enforce together.

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

/// Tokens per day.
const LIMIT: u64 = 1_000;

/// Tokens of one step of the scripted model.
const STEP: u64 = 18;

const CLIENTS: usize = 50;

fn with_budget(budget: Budget) -> TestSetup {
    TestSetup { policy: Policy { budget, ..Policy::default() }, ..TestSetup::default() }
}

fn with_daily_limit() -> TestSetup {
    with_budget(Budget { tokens: LIMIT, ..Budget::default() })
}

/// A request that reserves exactly what it uses: 3 tokens of prompt and 15 of answer.
fn small_request() -> StepRequest {
    StepRequest { context_top_k: Some(0), max_tokens: Some(15.into()), ..generate("Hello there") }
}

fn is_refused_by_budget(error: &StepError) -> bool {
    matches!(error, StepError::Write(WriteError::Refused(Refusal::Budget { .. })))
}

/// Sends requests until the budget refuses one. Returns the number of answers.
async fn until_refused(app: &TestApp, who: &Caller) -> u64 {
    let mut answers = 0;
    loop {
        match app.send(who.clone(), small_request()).await {
            Ok(response) => answers += u64::from(response.answer.accepted),
            Err(error) => {
                assert!(is_refused_by_budget(&error), "{error}");
                return answers;
            }
        }
    }
}

#[tokio::test]
async fn clients_of_two_replicas_stop_within_one_step_of_the_limit() {
    let one = TestApp::postgres_with(with_daily_limit()).await;
    let other = one.replica().await;
    let ann = caller("ann");
    let clients = (0..CLIENTS).map(|n| until_refused(if n % 2 == 0 { &one } else { &other }, &ann));
    let answers: u64 = join_all(clients).await.into_iter().sum();
    let spent = answers * STEP;
    assert!((LIMIT..LIMIT + STEP).contains(&spent), "{spent}");

    // refusals are not in the log: it has an admission and an ending for each answer
    let log = one.log().await;
    let steps = log.iter().filter(|record| record.step.is_some()).count() as u64;
    assert_eq!(steps, 2 * answers);
    // another data subject has a budget of its own
    assert!(other.send(caller("bob"), small_request()).await.unwrap().answer.accepted);

    let parts = one.engines.parts();
    let (id, end) = (EngineId::default(), Position::MAX);
    let (_, result) =
        verify(&parts.store, &parts.content_key, &id, end, &mut |_| {}).await.unwrap();
    assert_eq!((result.divergent, result.unverifiable), (0, 0), "{:?}", result.first_divergence);
}

#[tokio::test]
async fn a_budget_survives_a_restart_and_is_renewed_after_a_day() {
    let app = TestApp::sqlite_with(with_daily_limit()).await;
    until_refused(&app, &caller("ann")).await;
    let before = app.digest().await;
    let app = app.restart().await;
    assert_eq!(app.digest().await, before);
    let refused = app.send(caller("ann"), small_request()).await.unwrap_err();
    assert!(is_refused_by_budget(&refused), "{refused}");
    assert_eq!(app.digest().await, before, "the refusal leaves no event");

    let spent = app.engine().await.state("ann").await.unwrap().budget.unwrap();
    assert!(spent.spent.tokens >= LIMIT, "{spent:?}");
    assert_eq!((spent.limit.tokens, spent.reserved.tokens), (LIMIT, 0));
    assert_eq!(spent.window_ends_at, "2023-11-15T00:00:00Z");
    let other = app.engine().await.state("bob").await.unwrap().budget.unwrap();
    assert_eq!(other.spent.tokens, 0);

    app.pass(Duration::from_hours(24));
    let renewed = app.engine().await.state("ann").await.unwrap().budget.unwrap();
    assert_eq!(
        (renewed.spent.tokens, renewed.window_ends_at.as_str()),
        (0, "2023-11-16T00:00:00Z")
    );
    assert!(app.send(caller("ann"), small_request()).await.unwrap().answer.accepted);
}

#[tokio::test]
async fn a_request_to_the_model_is_limited_to_the_remaining_budget() {
    let app = TestApp::sqlite_with(with_budget(Budget { tokens: 20, ..Budget::default() })).await;
    let large = StepRequest { max_tokens: Some(500.into()), ..small_request() };
    app.send(caller("ann"), large).await.unwrap();
    assert_eq!(app.model.requests()[0].max_tokens.unwrap().tokens, 17);
}

#[tokio::test]
async fn a_running_step_reserves_its_tokens() {
    let app = TestApp::sqlite_with(with_daily_limit()).await;
    app.model.script([Reaction::Hang]);
    let large = StepRequest { max_tokens: Some(1_000.into()), ..small_request() };
    let running = app.send(caller("ann"), large);
    let refused = async {
        app.model.asked(1).await;
        let refused = app.send(caller("ann"), small_request()).await.unwrap_err();
        assert!(is_refused_by_budget(&refused), "{refused}");
    };
    tokio::select! {
        _ = running => panic!("the model never answers"),
        () = refused => {}
    }
}

#[tokio::test]
async fn a_cost_budget_refuses_models_without_a_price() {
    let budget = Budget { cost_micro_usd: 1_000_000, ..Budget::default() };
    let app = TestApp::sqlite_with(with_budget(budget)).await;
    let refused = app.send(caller("ann"), small_request()).await.unwrap_err();
    assert!(
        matches!(refused, StepError::Write(WriteError::Refused(Refusal::NoPrice))),
        "{refused}"
    );
    assert_eq!(BudgetUnit::MicroUsd.to_string(), "micro-USD");
}

#[tokio::test]
async fn a_configured_budget_is_applied_and_removed_with_the_configuration() {
    let mut app = TestApp::sqlite().await;
    for setup in [with_daily_limit(), TestSetup::default()] {
        let configured = setup.policy.clone();
        app = app.restart_with(setup).await;
        app.engines.ensure_default(&configured).await.unwrap();
        assert_eq!(app.engine().await.view().state.policy.budget, configured.budget);
    }
    assert_eq!(app.kinds().await, ["engine.created", "policy.changed", "policy.changed"]);
}
