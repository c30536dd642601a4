//! One run: two processes on one log, their callers, and the checks.

use std::{cell::Cell, sync::Arc, time::Duration};

use mlsdm::{
    domain::{
        event::{EngineCreated, Event, FailStage, LOG_FORMAT},
        ids::{CommandId, EngineId, Micros, Sha256, SubjectRef},
        policy::Policy,
        rules::Rules,
    },
    store::{
        Record, Store, chain, codec,
        faults::Hooks,
        keys::{ContentKey, IndexKey},
        subject::{Directory, Subject},
        writer::{Committed, Limits, Outcome, Proposal, WriteError, Writer, writer},
    },
    testkit::{CONTENT_KEY, START},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    super::fixture::{self, Prompt},
    checks::{Checks, MAC_RING, Trace, fold},
    database::{Conditions, Database, Defect},
    random::Random,
};

/// Callers of each process.
const CALLERS: usize = 3;
/// Rounds of each caller: it submits a few commands at once, and waits for all of them.
const ROUNDS: u64 = 4;
/// Virtual time after which a run counts as hung.
const PATIENCE: Duration = Duration::from_hours(1);

/// Virtual time for which half of the endings are repeated: longer than any run of faults.
const ENDINGS_REPEATED: Duration = Duration::from_mins(30);

thread_local! {
    /// The clocks of the two processes of the run on this thread.
    static CLOCKS: [Cell<Micros>; 2] = const { [Cell::new(0), Cell::new(0)] };
}

/// The log's clock as a process sees it; it moves whenever it is read.
pub(super) fn clock(process: usize) -> Micros {
    CLOCKS.with(|clocks| {
        let now = clocks[process].get() + 1;
        clocks[process].set(now);
        now
    })
}

fn pass(time: Micros) {
    CLOCKS.with(|clocks| clocks.iter().for_each(|clock| clock.set(clock.get() + time)));
}

struct Process {
    writer: Writer,
    subjects: Vec<Arc<Subject>>,
    checks: Arc<Checks>,
}

/// Runs a seed; the error lists the contradictions that were found.
pub(super) fn run(
    seed: u64,
    stores: &[Store; 2],
    defect: Option<Defect>,
) -> Result<Trace, Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut random = Random::new(seed);
        let conditions = Conditions {
            fault_permille: random.pick(&[0, 20, 60, 150]),
            has_one_connection: random.chance(300),
            defect,
        };
        let skew = random.below(3_000_000) as Micros;
        CLOCKS.with(|clocks| {
            clocks[0].set(START);
            clocks[1].set(START + skew);
        });
        let first = first_record();
        let database = Database::new(first, conditions, Random::new(random.next()));
        let checks = Arc::new(Checks::new(database));
        let ended = timeout(PATIENCE, simulate(stores, &checks, &mut random)).await;
        if ended.is_err() {
            checks.violation("a command was never answered".to_owned());
        }
        checks.result()
    })
}

async fn simulate(stores: &[Store; 2], checks: &Arc<Checks>, random: &mut Random) {
    let (mut tasks, mut callers, mut processes) = (JoinSet::new(), JoinSet::new(), Vec::new());
    let key = Arc::new(ContentKey::from_text(CONTENT_KEY).unwrap());
    let index_key = IndexKey::generate().unwrap();
    let directory = Arc::new(Directory::new(EngineId::default(), key, index_key));
    // known to the log: none of them is inserted with a batch
    let subject = |n: u128| {
        let made = directory.make(&format!("subject {n}"), SubjectRef::new(n)).unwrap();
        Arc::new(Subject { fresh: None, ..made })
    };
    let subjects: Vec<_> = (1..=2).map(subject).collect();
    // one process in some runs: then most batches are decided ahead
    let count = 1 + random.below(3).min(1) as usize;
    for store in stores.iter().take(count) {
        let hooks = Hooks::simulating(Arc::new(checks.database.clone()));
        let store = store.clone().with_hooks(hooks);
        let limits = Limits {
            batch_events: 1 + random.below(5) as usize,
            queue: 8,
            batch_bytes: random.pick(&[64, 1 << 20]),
        };
        let process = Arc::new(start(store, limits, (&directory, &subjects), checks, &mut tasks));
        processes.push(Arc::clone(&process));
        for _ in 0..CALLERS {
            callers.spawn(call(Arc::clone(&process), Random::new(random.next())));
        }
    }
    while let Some(ended) = callers.join_next().await {
        if let Err(error) = ended {
            checks.violation(format!("a caller panicked: {error}"));
        }
    }
    let views: Vec<_> = processes.iter().map(|process| process.writer.watch()).collect();
    checks.idle(processes.iter().map(|process| process.writer.depth()).sum());
    drop(processes);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            checks.violation(format!("a task panicked: {error}"));
        }
    }
    checks.database.settled().await;
    for view in &views {
        checks.last_view(&view.borrow());
    }
    checks.last_log();
}

/// The record of `engine.created`.
fn first_record() -> Record {
    let engine = EngineId::default();
    let created =
        EngineCreated { policy: Policy::default(), log_format: LOG_FORMAT, config_hash: None };
    let encoded = codec::encode(&Event::EngineCreated(Box::new(created))).unwrap();
    let mut record = Record {
        position: 1,
        command_id: CommandId::new(1),
        kind: encoded.kind.to_owned(),
        schema_version: encoded.schema_version,
        decide_version: Rules::NEWEST.version(),
        recorded_at: START,
        step: None,
        request_id: None,
        actor: None,
        subject_ref: None,
        trace_id: None,
        payload: encoded.payload,
        content_hash: None,
        leaf_hash: Sha256::default(),
        chain_hash: Sha256::default(),
        mac: None,
    };
    chain::extend(&engine, chain::genesis(&engine), MAC_RING.current().as_deref(), &mut record);
    record
}

/// Starts a writer on the first record, and a task that checks each state that it publishes.
fn start(
    store: Store,
    limits: Limits,
    (directory, subjects): (&Arc<Directory>, &[Arc<Subject>]),
    checks: &Arc<Checks>,
    tasks: &mut JoinSet<()>,
) -> Process {
    let engine = EngineId::default();
    let first = checks.database.records()[..1].to_vec();
    let (handle, task) =
        writer(engine, store, Arc::clone(directory), (fold(first).unwrap(), None), limits).unwrap();
    tasks.spawn(task.run());
    let (mut views, checker) = (handle.watch(), Arc::clone(checks));
    tasks.spawn(async move {
        while views.changed().await.is_ok() {
            checker.published(&views.borrow_and_update().clone());
        }
    });
    Process { writer: handle, subjects: subjects.to_vec(), checks: Arc::clone(checks) }
}

/// A caller: steps and their endings, with and without keys, a few at once.
async fn call(process: Arc<Process>, mut random: Random) {
    let mut open: Vec<Committed> = Vec::new();
    for _ in 0..ROUNDS {
        sleep(random.delay()).await;
        if random.chance(20) {
            pass(10_000_000);
        }
        let mut answers = Vec::new();
        for _ in 0..=random.below(3) {
            let proposal = process.proposal(&mut open, &mut random);
            let id = proposal.command_id;
            process.checks.submitted(&proposal);
            match process.writer.submit(proposal) {
                Ok(answer) => answers.push((id, answer)),
                Err(error) => process.checks.answered(id, &Err(error)),
            }
        }
        for (id, answer) in answers {
            let result = answer.await.unwrap_or(Err(WriteError::Closed));
            process.checks.answered(id, &result);
            process.checks.includes(&process.writer.view(), &result);
            if let Ok(Outcome::Committed(committed)) = result
                && committed
                    .events
                    .first()
                    .is_some_and(|(_, event)| matches!(event, Event::StepAdmitted(_)))
            {
                open.push(committed);
            }
        }
    }
}

impl Process {
    fn proposal(&self, open: &mut Vec<Committed>, random: &mut Random) -> Proposal {
        if !open.is_empty() && random.chance(400) {
            let admitted = open.swap_remove(random.below(open.len() as u64) as usize);
            let stage = random.pick(&[FailStage::Llm, FailStage::EmptyResponse]);
            let retry_until = random.chance(500).then(|| Instant::now() + ENDINGS_REPEATED);
            return Proposal { retry_until, ..fixture::failure(&admitted, stage) };
        }
        if random.chance(100) {
            return fixture::nothing_to_do();
        }
        let prompt = Prompt {
            by: "",
            text: "prompt",
            key: random.pick(&[None, None, Some("a"), Some("b")]),
        };
        fixture::admission(&random.pick(&self.subjects), &prompt)
    }
}
