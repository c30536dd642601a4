//! Migrations of an engine to another embedder: the copied memory, and interrupted, concurrent and
//! repeated runs.

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

/// The dimension of the new embedder.
const DIMENSION: usize = 64;

/// Facts remembered before a migration: more than fit in one page.
const FACTS: usize = 70;

fn copy_id() -> EngineId {
    "copy".parse().unwrap()
}

/// A server with another embedder, and with a policy that names it.
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

/// Embeds `texts` texts, including the probe at the start of a migration, and then fails.
fn failing_after(texts: usize) -> Function {
    let embedded = AtomicUsize::new(0);
    Arc::new(move |text| {
        let fails = embedded.fetch_add(1, Ordering::Relaxed) >= texts;
        let vector = vector_of(&text);
        Box::pin(async move { if fails { Err(EmbedError::Broken) } else { Ok(vector) } })
    })
}

/// Has the default engine remember facts of three end users.
async fn remember_facts(app: &TestApp) {
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

/// The context that the model received for a prompt to the copy.
async fn context(app: &TestApp, who: &str, prompt: &str) -> String {
    let request = StepRequest { context_top_k: Some(3), ..generate(prompt) };
    let (copy, alive) = (copy(app).await, CancellationToken::new());
    step::run(&copy, &caller(who), &request, None, &alive).await.unwrap();
    let asked = app.model.requests().pop().unwrap();
    assert!(asked.messages.iter().all(|message| message.role == Role::User));
    let [message] = &asked.messages[..] else { panic!("one message was asked") };
    message.text.strip_suffix(prompt).unwrap().to_owned()
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

/// The copy has every item of the source once, in the same order.
async fn assert_complete(app: &TestApp) {
    let parts = app.engines.parts();
    let id = EngineId::default();
    let source = replay(&parts.store, &parts.content_key, &id, Position::MAX, &mut |_| {}).await;
    let source = source.unwrap().state.unwrap();
    let expected: Vec<Position> = source.lattice.items().map(|item| item.position).collect();
    let added: Vec<Position> =
        added(app).await.iter().map(|added| added.source.as_ref().unwrap().position).collect();
    assert_eq!(added, expected);
}

/// The state of the copy equals the fold of its log, and all events of the log can be decided again.
async fn assert_verified(app: &TestApp) {
    let (parts, id) = (app.engines.parts(), copy_id());
    let (store, key) = (&parts.store, &parts.content_key);
    let (fold, result) = verify(store, key, &id, Position::MAX, &mut |_| {}).await.unwrap();
    assert_eq!(result.first_divergence, None);
    assert_eq!((result.verified, result.unverifiable), (fold.position(), 0));
    let (replayed, running) = (fold.state.unwrap(), copy(app).await.view());
    assert_eq!(digest::state(&replayed), digest::state(&running.state));
    let traces = |state: &mlsdm::domain::state::State| digest::traces(state.traces.as_ref());
    assert_eq!(traces(&replayed), traces(&running.state));
    let audit = mlsdm::store::audit::verify(store, &id, None, |_| {}).await.unwrap();
    assert_eq!((audit.first_bad, audit.verified), (None, replayed.position));
}

async fn copy_has_the_memory_of_the_source(app: TestApp) {
    remember_facts(&app).await;
    let source = app.engine().await.view().state.clone();
    let app = app.restart_with(with(working())).await;
    let done = run(&app).await.unwrap();
    let items = FACTS as u64 + 2;
    assert_eq!((done.copied, done.skipped, done.refused, done.already), (items, 0, 0, 0));
    // two events create the copy: like its source, it follows the configuration
    assert_eq!(done.position, items + 2);
    let state = copy(&app).await.view().state.clone();
    assert_eq!((state.step, state.stored, state.lattice.len() as u64), (0, items, items));
    assert_eq!(state.policy.vectors(), "own 1, dimension 64");
    assert_eq!(state.config, Some(Arc::clone(&state.policy)));
    assert_eq!(state.policy.diff(&source.policy), ["dimension", "embedder.id"]);
    let items_of = |state: &mlsdm::domain::state::State| -> Vec<_> {
        let of = |item: &mlsdm::domain::lattice::Item| {
            (item.number, item.phase.to_bits(), item.confidence.to_bits(), item.consolidated)
        };
        state.lattice.items().map(of).collect()
    };
    assert_eq!(items_of(&state), items_of(&source));
    let consolidated = state.lattice.consolidated();
    assert!((1..state.lattice.len()).contains(&consolidated), "some of them: {consolidated}");
    // three end users, under other pseudonyms
    let subjects = |state: &mlsdm::domain::state::State| -> HashSet<_> {
        state.lattice.items().map(|item| item.subject).collect()
    };
    assert_eq!((subjects(&state).len(), subjects(&source).len()), (3, 3));
    assert!(subjects(&state).is_disjoint(&subjects(&source)));
    assert_complete(&app).await;
    assert_verified(&app).await;

    let ann = context(&app, "ann", "What is my dog called?").await;
    assert!(ann.contains("My dog is called Rex"), "{ann}");
    assert!(ann.contains(mlsdm::testkit::app::NOTED) && !ann.contains("Tom"), "{ann}");
    let bob = context(&app, "bob", "What is my dog called?").await;
    assert!(!bob.contains("Rex"), "{bob}");
    assert_eq!(context(&app, "eve", "What is my dog called?").await, "");
    assert_verified(&app).await;
    // and a restart restores the same state
    let before = digest::state(&copy(&app).await.view().state);
    let app = app.restart().await;
    assert_eq!(digest::state(&copy(&app).await.view().state), before);
}

#[tokio::test]
async fn a_copy_in_sqlite_has_the_memory_of_its_source() {
    Box::pin(copy_has_the_memory_of_the_source(TestApp::sqlite().await)).await;
}

#[tokio::test]
async fn a_copy_in_postgres_has_the_memory_of_its_source() {
    Box::pin(copy_has_the_memory_of_the_source(TestApp::postgres().await)).await;
}

#[tokio::test]
async fn an_interrupted_migration_resumes_and_adds_each_item_once() {
    let app = TestApp::sqlite().await;
    remember_facts(&app).await;
    // the second page fails
    let app = app.restart_with(with(failing_after(1 + 65))).await;
    let error = run(&app).await.unwrap_err();
    assert!(matches!(error, MigrateError::Embed(EmbedError::Broken)), "{error}");
    assert!(error.to_string().contains("start the migration again"), "{error}");
    assert_eq!(added(&app).await.len(), 64);
    let app = app.restart_with(with(working())).await;
    let done = run(&app).await.unwrap();
    assert_eq!((done.copied, done.already), (FACTS as u64 + 2 - 64, 64));
    assert_complete(&app).await;
    let again = run(&app).await.unwrap();
    assert_eq!((again.copied, again.already), (0, FACTS as u64 + 2));
    assert_eq!((again.position, again.chain_hash), (done.position, done.chain_hash));
    assert_verified(&app).await;
}

#[tokio::test]
async fn a_failed_append_leaves_no_gap() {
    let app = TestApp::sqlite().await;
    remember_facts(&app).await;
    let limits = Limits { batch_events: 10, ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let app = app.restart_with(TestSetup { settings, ..with(working()) }).await;
    app.engines.create(&copy_id(), with(working()).policy, None, "operator").await.unwrap();
    drop(copy(&app).await);
    // one of several batches fails; the later ones must not be appended
    let full = || mlsdm::store::StoreError::DiskFull("injected".to_owned());
    app.faults.plan([Fault::Insert(full())]);
    let error = run(&app).await.unwrap_err();
    assert!(error.to_string().contains("free space"), "{error}");
    run(&app).await.unwrap();
    assert_complete(&app).await;
    assert_verified(&app).await;
}

#[tokio::test]
async fn concurrent_migrations_add_each_item_once() {
    let app = TestApp::postgres().await;
    remember_facts(&app).await;
    let app = app.restart_with(with(working())).await;
    app.engines.create(&copy_id(), with(working()).policy, None, "operator").await.unwrap();
    let other = app.replica().await;
    let (one, two) = tokio::join!(run(&app), run(&other));
    for refused in [one.err(), two.err()].into_iter().flatten() {
        assert!(refused.to_string().contains("one migration at a time"), "{refused}");
    }
    // like the command: a new process, which reads the log of the copy first
    let last = app.replica().await;
    run(&last).await.unwrap();
    assert_complete(&last).await;
    assert_verified(&last).await;
}

#[tokio::test]
async fn a_repeated_migration_copies_later_memories() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    let app = app.restart_with(with(working())).await;
    assert_eq!(run(&app).await.unwrap().copied, 1);
    let app = app.restart_with(TestSetup::default()).await;
    app.ask("ann", "My horse is called Max").await.unwrap();
    let app = app.restart_with(with(working())).await;
    let done = run(&app).await.unwrap();
    assert_eq!((done.copied, done.already), (1, 1));
    assert_complete(&app).await;
    let known = context(&app, "ann", "What is my horse called?").await;
    assert!(known.contains("Max"), "{known}");
}

#[tokio::test]
async fn a_smaller_copy_has_the_newest_items() {
    let app = TestApp::sqlite().await;
    remember_facts(&app).await;
    let app = app.restart_with(with(working())).await;
    let policy = Policy { capacity: 5, ..with(working()).policy };
    app.engines.create(&copy_id(), policy, None, "operator").await.unwrap();
    run(&app).await.unwrap();
    assert_complete(&app).await;
    let state = copy(&app).await.view().state.clone();
    assert_eq!((state.lattice.len(), state.stored), (5, FACTS as u64 + 2));
    let victims = added(&app).await.iter().filter(|added| added.victim.is_some()).count();
    assert_eq!(victims, FACTS + 2 - 5);
    assert_verified(&app).await;
    assert!(context(&app, "bob", "What is my cat called?").await.contains("Tom"));
}

#[tokio::test]
async fn the_copy_of_a_copy_has_the_same_contents() {
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
async fn a_text_that_the_embedder_rejects_is_left_out_and_counted() {
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
async fn a_target_that_is_not_a_copy_of_the_source_is_refused() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    let (from, to) = (EngineId::default(), copy_id());
    let itself = migrate(&app.engines, &from, &from, "operator", &mut |_| {}).await;
    assert!(matches!(itself, Err(MigrateError::Itself)), "{itself:?}");
    let missing_id: EngineId = "nobody".parse().unwrap();
    let missing = migrate(&app.engines, &missing_id, &to, "operator", &mut |_| {}).await;
    assert!(missing.unwrap_err().to_string().contains("no engine \"nobody\""));
    // administrative events do not prevent a migration
    app.engines.create(&to, Policy::default(), None, "operator").await.unwrap();
    let engine = copy(&app).await;
    let act = || Intervene { actor: "operator".to_owned(), reason: "a drill".to_owned() };
    engine.shutdown(act()).await.unwrap();
    engine.resume(act()).await.unwrap();
    let policy = Policy { capacity: 7, ..Policy::default() };
    let (actor, reason) = ("operator".to_owned(), "smaller".to_owned());
    engine
        .change_policy(ChangePolicy { policy, actor, reason, config: None, evidence: None })
        .await
        .unwrap();
    drop(engine);
    assert_eq!(run(&app).await.unwrap().copied, 1);
    // another source, and an engine with steps of its own
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
    let app = app.restart_with(with(failing_after(0))).await;
    run(&app).await.unwrap_err();
    assert!(app.engines.parts().store.engine(&copy_id()).await.unwrap().is_none());
}

#[tokio::test]
async fn erased_contents_are_not_copied() {
    let app = TestApp::sqlite().await;
    app.ask("ann", "My dog is called Rex").await.unwrap();
    app.ask("bob", "My cat is called Tom").await.unwrap();
    app.ask("cleo", "My horse is called Max").await.unwrap();
    let subjects: Vec<_> =
        app.engine().await.view().state.lattice.items().map(|item| item.subject).collect();
    let app = app.restart_with(with(working())).await;
    // erases a content of ann, and the key of bob
    let mut append = app.engines.parts().store.begin(&EngineId::default()).await.unwrap();
    append.delete_contents(&[2]).await.unwrap();
    assert!(append.delete_subject(subjects[1]).await.unwrap());
    append.commit().await.unwrap();
    let done = run(&app).await.unwrap();
    assert_eq!((done.copied, done.skipped), (1, 2));
    assert_eq!(added(&app).await.len(), 1);
    assert!(context(&app, "cleo", "What is my horse called?").await.contains("Max"));
}
