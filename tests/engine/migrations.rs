//! An engine copied for another embedder: what is found afterwards, and what a run that ended early
//! or came twice leaves.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mlsdm::{
    domain::{
        command::{ChangePolicy, Intervene},
        digest,
        event::{Event, MemoryAdded},
        ids::{EngineId, Position},
        policy::{EmbedderId, Policy},
    },
    embed::{EmbedError, Embedder, Function, hashing},
    engine::{
        Engine, EngineError, Settings, StepRequest,
        migrate::{MigrateError, MigrationReport, migrate},
        step,
        verify::verify,
    },
    llm::Role,
    store::{codec, faults::Fault, replay::replay, writer::Limits},
    testkit::app::{TestApp, TestSetup, caller, generate},
};
use tokio_util::sync::CancellationToken;

/// Components of the vectors of the embedder that is moved to.
const DIMENSION: usize = 64;

/// Facts told before a migration: more than are copied at once.
const FACTS: usize = 70;

fn copy_id() -> EngineId {
    "copy".parse().unwrap()
}

/// A server with another embedder, and with a policy that says so.
fn with(function: Function) -> TestSetup {
    TestSetup {
        embedder: Embedder::function("own", 1, DIMENSION, function),
        policy: Policy {
            dimension: DIMENSION,
            embedder: EmbedderId { id: "own".to_owned(), version: 1 },
            ..Policy::default()
        },
        ..TestSetup::default()
    }
}

fn vector_of(text: &str) -> Vec<f32> {
    hashing::embed(text, DIMENSION)
}

fn working() -> Function {
    Arc::new(|text| Box::pin(async move { Ok(vector_of(&text)) }))
}

/// Works for so many texts (a migration begins with one of its own) and breaks then.
fn breaking_after(texts: usize) -> Function {
    let embedded = AtomicUsize::new(0);
    Arc::new(move |text| {
        let broken = embedded.fetch_add(1, Ordering::Relaxed) >= texts;
        let vector = vector_of(&text);
        Box::pin(async move { if broken { Err(EmbedError::Broken) } else { Ok(vector) } })
    })
}

/// Tells the default engine what three people know.
async fn told(app: &TestApp) {
    for fact in 0..FACTS {
        let who = ["ann", "bob", "cleo"][fact % 3];
        app.ask(who, &format!("The colour of {who}'s house number {fact} is red")).await.unwrap();
    }
    app.ask("ann", "My dog is called Rex").await.unwrap();
    app.ask("bob", "My cat is called Tom").await.unwrap();
}

async fn run(app: &TestApp) -> Result<MigrationReport, MigrateError> {
    let (from, to) = (EngineId::default(), copy_id());
    migrate(&app.engines, &from, &to, "operator", &mut |_| {}).await
}

async fn copy(app: &TestApp) -> Arc<Engine> {
    app.engines.get(&copy_id()).await.unwrap()
}

/// What the model was told as context when somebody asked the copy.
async fn context(app: &TestApp, who: &str, prompt: &str) -> String {
    let request = StepRequest { context_top_k: Some(3), ..generate(prompt) };
    let (copy, alive) = (copy(app).await, CancellationToken::new());
    step::run(&copy, &caller(who), &request, None, &alive).await.unwrap();
    let asked = app.model.requests().pop().unwrap();
    assert!(asked.messages.iter().all(|message| message.role == Role::User));
    let [context @ .., _prompt] = &asked.messages[..] else { panic!("nothing was asked") };
    context.iter().map(|message| message.text.as_str()).collect()
}

/// The `memory.added` events of the copy.
async fn added(app: &TestApp) -> Vec<MemoryAdded> {
    let log = app.engines.parts().store.read(&copy_id(), 0, 10_000).await.unwrap();
    let event = |record: &mlsdm::store::Record| {
        codec::decode(&record.kind, record.schema_version, &record.payload).unwrap()
    };
    let added = |event| if let Event::MemoryAdded(added) = event { Some(*added) } else { None };
    log.iter().map(event).filter_map(added).collect()
}

/// Every item of the source was added once, in its order.
async fn assert_whole(app: &TestApp) {
    let parts = app.engines.parts();
    let id = EngineId::default();
    let source = replay(&parts.store, &parts.content_key, &id, Position::MAX, &mut |_| {}).await;
    let source = source.unwrap().state.unwrap();
    let wanted: Vec<Position> = source.lattice.items().map(|item| item.position).collect();
    let added: Vec<Position> = added(app).await.iter().map(|added| added.source.position).collect();
    assert_eq!(added, wanted);
}

/// The running copy is what its log says, and its log is what would be decided again.
async fn assert_proven(app: &TestApp) {
    let (parts, id) = (app.engines.parts(), copy_id());
    let (store, key) = (&parts.store, &parts.content_key);
    let (folder, found) = verify(store, key, &id, Position::MAX, &mut |_| {}).await.unwrap();
    assert_eq!(found.first_divergence, None);
    assert_eq!((found.verified, found.unverifiable), (folder.position(), 0));
    let (replayed, running) = (folder.state.unwrap(), copy(app).await.view());
    assert_eq!(digest::state(&replayed), digest::state(&running.state));
    let traces = |state: &mlsdm::domain::state::State| digest::traces(state.traces.as_ref());
    assert_eq!(traces(&replayed), traces(&running.state));
    let audit = mlsdm::store::audit::verify(store, &id, |_| {}).await.unwrap();
    assert_eq!((audit.first_bad, audit.verified), (None, replayed.position));
}

async fn is_found_with_another_embedder(app: TestApp) {
    told(&app).await;
    let source = app.engine().await.view().state.clone();
    let app = app.restart_with(with(working())).await;
    let done = run(&app).await.unwrap();
    let items = FACTS as u64 + 2;
    assert_eq!((done.copied, done.skipped, done.refused, done.already), (items, 0, 0, 0));
    // and the two events of its creation: the copy follows the configuration as its source does
    assert_eq!(done.position, items + 2);
    let state = copy(&app).await.view().state.clone();
    assert_eq!((state.step, state.stored, state.lattice.len() as u64), (0, items, items));
    assert_eq!(state.policy.vectors(), "own 1, dimension 64");
    assert_eq!(state.config, Some(Arc::clone(&state.policy)));
    assert_eq!(state.policy.diff(&source.policy), ["dimension", "embedder.id"]);
    let kept = |state: &mlsdm::domain::state::State| -> Vec<_> {
        let of = |item: &mlsdm::domain::lattice::Item| {
            (item.number, item.phase.to_bits(), item.confidence.to_bits(), item.consolidated)
        };
        state.lattice.items().map(of).collect()
    };
    assert_eq!(kept(&state), kept(&source));
    let consolidated = state.lattice.consolidated();
    assert!((1..state.lattice.len()).contains(&consolidated), "some of them: {consolidated}");
    // three people, under other pseudonyms
    let people = |state: &mlsdm::domain::state::State| -> HashSet<_> {
        state.lattice.items().map(|item| item.subject).collect()
    };
    assert_eq!((people(&state).len(), people(&source).len()), (3, 3));
    assert!(people(&state).is_disjoint(&people(&source)));
    assert_whole(&app).await;
    assert_proven(&app).await;

    let ann = context(&app, "ann", "What is my dog called?").await;
    assert!(ann.contains("My dog is called Rex"), "{ann}");
    assert!(ann.contains(mlsdm::testkit::app::NOTED) && !ann.contains("Tom"), "{ann}");
    let bob = context(&app, "bob", "What is my dog called?").await;
    assert!(!bob.contains("Rex"), "{bob}");
    assert_eq!(context(&app, "eve", "What is my dog called?").await, "");
    assert_proven(&app).await;
    // and a restart finds the same
    let before = digest::state(&copy(&app).await.view().state);
    let app = app.restart().await;
    assert_eq!(digest::state(&copy(&app).await.view().state), before);
}

#[tokio::test]
async fn sqlite_is_found_with_another_embedder() {
    is_found_with_another_embedder(TestApp::sqlite().await).await;
}

#[tokio::test]
async fn postgres_is_found_with_another_embedder() {
    is_found_with_another_embedder(TestApp::postgres().await).await;
}

#[tokio::test]
async fn a_run_that_broke_goes_on_and_adds_each_item_once() {
    let app = TestApp::sqlite().await;
    told(&app).await;
    // the second page breaks
    let app = app.restart_with(with(breaking_after(1 + 65))).await;
    let error = run(&app).await.unwrap_err();
    assert!(matches!(error, MigrateError::Embed(EmbedError::Broken)), "{error}");
    assert!(error.to_string().contains("start the migration again"), "{error}");
    assert_eq!(added(&app).await.len(), 64);
    let app = app.restart_with(with(working())).await;
    let done = run(&app).await.unwrap();
    assert_eq!((done.copied, done.already), (FACTS as u64 + 2 - 64, 64));
    assert_whole(&app).await;
    let again = run(&app).await.unwrap();
    assert_eq!((again.copied, again.already), (0, FACTS as u64 + 2));
    assert_eq!((again.position, again.chain_hash), (done.position, done.chain_hash));
    assert_proven(&app).await;
}

#[tokio::test]
async fn a_write_that_fails_leaves_no_gap() {
    let app = TestApp::sqlite().await;
    told(&app).await;
    let limits = Limits { batch_events: 10, ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let app = app.restart_with(TestSetup { settings, ..with(working()) }).await;
    app.engines.create(&copy_id(), with(working()).policy, None, "operator").await.unwrap();
    drop(copy(&app).await);
    // one batch of several fails; those behind it must not be taken
    let full = || mlsdm::store::StoreError::DiskFull("injected".to_owned());
    app.faults.plan([Fault::Insert(full())]);
    let error = run(&app).await.unwrap_err();
    assert!(error.to_string().contains("free space"), "{error}");
    run(&app).await.unwrap();
    assert_whole(&app).await;
    assert_proven(&app).await;
}

#[tokio::test]
async fn two_runs_at_once_add_each_item_once() {
    let app = TestApp::postgres().await;
    told(&app).await;
    let app = app.restart_with(with(working())).await;
    app.engines.create(&copy_id(), with(working()).policy, None, "operator").await.unwrap();
    let other = app.replica().await;
    let (one, two) = tokio::join!(run(&app), run(&other));
    for refused in [one.err(), two.err()].into_iter().flatten() {
        assert!(refused.to_string().contains("one migration at a time"), "{refused}");
    }
    // as a command does it: a process of its own, which reads the copy's log first
    let last = app.replica().await;
    run(&last).await.unwrap();
    assert_whole(&last).await;
    assert_proven(&last).await;
}

#[tokio::test]
async fn what_is_remembered_later_is_copied_later() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    let app = app.restart_with(with(working())).await;
    assert_eq!(run(&app).await.unwrap().copied, 1);
    let app = app.restart_with(TestSetup::default()).await;
    app.ask("ann", "My horse is called Max").await.unwrap();
    let app = app.restart_with(with(working())).await;
    let done = run(&app).await.unwrap();
    assert_eq!((done.copied, done.already), (1, 1));
    assert_whole(&app).await;
    let known = context(&app, "ann", "What is my horse called?").await;
    assert!(known.contains("Max"), "{known}");
}

#[tokio::test]
async fn a_smaller_copy_keeps_the_last() {
    let app = TestApp::sqlite().await;
    told(&app).await;
    let app = app.restart_with(with(working())).await;
    let policy = Policy { capacity: 5, ..with(working()).policy };
    app.engines.create(&copy_id(), policy, None, "operator").await.unwrap();
    run(&app).await.unwrap();
    assert_whole(&app).await;
    let state = copy(&app).await.view().state.clone();
    assert_eq!((state.lattice.len(), state.stored), (5, FACTS as u64 + 2));
    let victims = added(&app).await.iter().filter(|added| added.victim.is_some()).count();
    assert_eq!(victims, FACTS + 2 - 5);
    assert_proven(&app).await;
    assert!(context(&app, "bob", "What is my cat called?").await.contains("Tom"));
}

#[tokio::test]
async fn the_copy_of_a_copy_holds_the_same_words() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    let app = app.restart_with(with(working())).await;
    run(&app).await.unwrap();
    let third: EngineId = "third".parse().unwrap();
    let app = app.restart_with(TestSetup::default()).await;
    let done = migrate(&app.engines, &copy_id(), &third, "operator", &mut |_| {}).await.unwrap();
    assert_eq!(done.copied, 1);
    let engine = app.engines.get(&third).await.unwrap();
    let request = generate("What is my dog called?");
    step::run(&engine, &caller("ann"), &request, None, &CancellationToken::new()).await.unwrap();
    assert!(app.model.requests()[0].messages[0].text.contains("Rex"));
}

#[tokio::test]
async fn a_text_that_the_embedder_does_not_take_is_left_out_and_counted() {
    let app = TestApp::sqlite().await;
    for prompt in ["My dog is called Rex", "too long", "My cat is called Tom"] {
        app.ask("ann", prompt).await.unwrap();
    }
    let function: Function = Arc::new(|text| {
        let refused = EmbedError::Refused { status: 413 };
        let result = if text == "too long" { Err(refused) } else { Ok(vector_of(&text)) };
        Box::pin(async move { result })
    });
    let app = app.restart_with(with(function)).await;
    let done = run(&app).await.unwrap();
    assert_eq!((done.copied, done.refused), (2, 1));
    assert_eq!(copy(&app).await.view().state.lattice.len(), 2);
}

#[tokio::test]
async fn somebody_elses_engine_is_not_copied_into() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    let (from, to) = (EngineId::default(), copy_id());
    let itself = migrate(&app.engines, &from, &from, "operator", &mut |_| {}).await;
    assert!(matches!(itself, Err(MigrateError::Itself)), "{itself:?}");
    let nobody: EngineId = "nobody".parse().unwrap();
    let missing = migrate(&app.engines, &nobody, &to, "operator", &mut |_| {}).await;
    assert!(missing.unwrap_err().to_string().contains("no engine \"nobody\""));
    // acts of its administrator do not make it anybody's
    app.engines.create(&to, Policy::default(), None, "operator").await.unwrap();
    let engine = copy(&app).await;
    let act = || Intervene { actor: "operator".to_owned(), reason: "a drill".to_owned() };
    engine.shutdown(act()).await.unwrap();
    engine.resume(act()).await.unwrap();
    let policy = Policy { capacity: 7, ..Policy::default() };
    let (actor, reason) = ("operator".to_owned(), "smaller".to_owned());
    engine.change_policy(ChangePolicy { policy, actor, reason, config: None }).await.unwrap();
    drop(engine);
    assert_eq!(run(&app).await.unwrap().copied, 1);
    // another source, and then steps of its own
    let other: EngineId = "other".parse().unwrap();
    app.engines.create(&other, Policy::default(), None, "operator").await.unwrap();
    let refused = migrate(&app.engines, &other, &to, "operator", &mut |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("does not exist yet"), "{refused}");
    context(&app, "ann", "What is my dog called?").await;
    let refused = run(&app).await.unwrap_err();
    assert!(matches!(refused, MigrateError::NotACopy { .. }), "{refused}");
    // an engine of other vectors than this server makes
    let app = app.restart_with(with(working())).await;
    let refused = migrate(&app.engines, &from, &other, "operator", &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Engine(EngineError::Embedder { .. })), "{refused}");
}

#[tokio::test]
async fn nothing_is_made_for_an_embedder_that_does_not_work() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    let app = app.restart_with(with(breaking_after(0))).await;
    run(&app).await.unwrap_err();
    assert!(app.engines.parts().store.engine(&copy_id()).await.unwrap().is_none());
}

#[tokio::test]
async fn erased_words_are_not_copied() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    app.ask("bob", "My cat is called Tom").await.unwrap();
    app.ask("cleo", "My horse is called Max").await.unwrap();
    let subjects: Vec<_> =
        app.engine().await.view().state.lattice.items().map(|item| item.subject).collect();
    let app = app.restart_with(with(working())).await;
    // ann's text is gone, and bob's key
    let mut append = app.engines.parts().store.begin(&EngineId::default()).await.unwrap();
    append.delete_contents(&[2]).await.unwrap();
    assert!(append.delete_subject(subjects[1]).await.unwrap());
    append.commit().await.unwrap();
    let done = run(&app).await.unwrap();
    assert_eq!((done.copied, done.skipped), (1, 2));
    assert_eq!(added(&app).await.len(), 1);
    assert!(context(&app, "cleo", "What is my horse called?").await.contains("Max"));
}
