//! A seeded simulation of the writer.
//!
//! The writer's real task, with its real batches and folds, runs on a log in memory whose transactions
//! wait, fail and end in doubt as a seed says, beside a second writer on the same log. The runtime has
//! one thread and its time is paused, so a seed always gives the same run. (A real SQLite cannot be
//! simulated so: sqlx runs it on a thread of its own.)
//!
//! A failure prints its seed; `MLSDM_TEST_SEED=n` runs that seed alone. With `MLSDM_TEST_EXTENDED=1`
//! a hundred times as many seeds run.

mod checks;
mod database;
mod random;
mod world;

use std::{
    env,
    num::NonZero,
    ops::Range,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
};

use mlsdm::{
    store::{Options, Store},
    testkit::{Backend, TestDatabase},
};

use self::{database::Defect, world::run};

const SEEDS: u64 = 1_000;
const SEEDS_EXTENDED: u64 = 100_000;
/// Seeds within which a planted defect must be found.
const SEEDS_DEFECT: u64 = 200;

/// The stores of two processes. The simulation replaces their transactions, so nothing is written to
/// the files.
async fn stores() -> ([Store; 2], [TestDatabase; 2]) {
    let databases =
        [TestDatabase::on(Backend::Sqlite).await, TestDatabase::on(Backend::Sqlite).await];
    let mut stores = Vec::new();
    for (process, database) in databases.iter().enumerate() {
        let clock = Arc::new(move || world::clock(process));
        let options = Options { clock: Some(clock), ..Options::new(database.url()) };
        stores.push(Store::open(&options).await.unwrap());
    }
    let Ok(stores) = <[Store; 2]>::try_from(stores) else { panic!("two stores") };
    (stores, databases)
}

/// Runs seeds on this thread; returns the failures.
fn run_seeds(seeds: Range<u64>, defect: Option<Defect>) -> Vec<(u64, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stores, _databases) = runtime.block_on(stores());
    let failure = |seed| {
        let run = panic::catch_unwind(AssertUnwindSafe(|| run(seed, &stores, defect)));
        let violations = run.unwrap_or_else(|_| Err(vec!["the run panicked".to_owned()])).err()?;
        Some((seed, violations))
    };
    seeds.filter_map(failure).collect()
}

#[test]
fn every_seed_keeps_the_writers_promises() {
    let seeds = match env::var("MLSDM_TEST_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("MLSDM_TEST_SEED is a number");
            seed..seed + 1
        }
        Err(_) if env::var("MLSDM_TEST_EXTENDED").is_ok() => 0..SEEDS_EXTENDED,
        Err(_) => 0..SEEDS,
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let share = (seeds.end - seeds.start).div_ceil(threads);
    let failures: Vec<_> = thread::scope(|scope| {
        let parts = (0..threads).map(|thread| {
            let start = seeds.start + thread * share;
            start.min(seeds.end)..(start + share).min(seeds.end)
        });
        let runs: Vec<_> = parts.map(|part| scope.spawn(move || run_seeds(part, None))).collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    let report = |(seed, violations): &(u64, Vec<String>)| {
        format!("MLSDM_TEST_SEED={seed} reproduces: {violations:#?}\n")
    };
    assert!(failures.is_empty(), "{}", failures.iter().map(report).collect::<String>());
}

#[test]
fn a_seed_always_gives_the_same_run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stores, _databases) = runtime.block_on(stores());
    for seed in 0..50 {
        let [first, second] = [run(seed, &stores, None), run(seed, &stores, None)];
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(first.answers.len() > 10, "{first:?}");
        assert_eq!(first, second, "seed {seed}");
    }
}

/// The violations that a defect leads to, of all seeds.
fn violations_of(defect: Defect) -> Vec<String> {
    let failures = run_seeds(0..SEEDS_DEFECT, Some(defect));
    failures.into_iter().flat_map(|(_, violations)| violations).collect()
}

#[test]
fn a_duplicate_after_an_unknown_commit_is_found() {
    let violations = violations_of(Defect::DoubtIsHidden);
    assert!(
        violations.iter().any(|v| v.ends_with("a command is in the log twice")),
        "{violations:?}"
    );
}

#[test]
fn a_gap_is_found() {
    let violations = violations_of(Defect::VersionIsNotChecked);
    assert!(violations.iter().any(|v| v.starts_with("the log has a gap")), "{violations:?}");
}

#[test]
fn a_state_that_is_published_before_its_commit_is_found() {
    let violations = violations_of(Defect::EarlyAcknowledgement);
    let is_early = |v: &String| v.ends_with("is published but not in the log");
    assert!(violations.iter().any(is_early), "{violations:?}");
}
