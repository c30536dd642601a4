//! The properties that every run must have.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock, Mutex, MutexGuard},
};

use mlsdm::{
    domain::{
        digest,
        ids::{CommandId, EngineId, Position},
    },
    store::{
        Record, StoreError,
        keys::ContentKey,
        mac::MacRing,
        state_fold::StateFold,
        writer::{Committed, Outcome, Proposal, View, WriteError},
    },
    testkit::CONTENT_KEY,
};

use super::database::Database;

/// The observable result of a run, without anything random: ids and hashes differ between two runs of a seed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// For each event of the log, its kind and the number of the command that caused it.
    pub(super) log: Vec<(String, Option<usize>)>,
    /// For each command its number and result, in the order of the answers.
    pub(super) answers: Vec<(usize, String)>,
}

/// The log, everything that was submitted and answered, and the contradictions between them.
pub(super) struct Checks {
    pub(super) database: Database,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    commands: HashMap<CommandId, usize>,
    repeated: HashSet<CommandId>,
    failed: Vec<CommandId>,
    answers: Vec<(usize, String)>,
    violations: Vec<String>,
}

/// The MAC keys of all runs.
pub(super) static MAC_RING: LazyLock<Arc<MacRing>> = LazyLock::new(|| {
    let (ring, key) = (MacRing::default(), ContentKey::from_text(CONTENT_KEY).unwrap());
    ring.add(key.make_mac_key(1).unwrap().0);
    Arc::new(ring)
});

/// Folds a log from its first event.
pub(super) fn fold(records: Vec<Record>) -> Result<StateFold, String> {
    let key = Arc::new(ContentKey::from_text(CONTENT_KEY).unwrap());
    let mut fold = StateFold::new(EngineId::default(), key, Arc::clone(&MAC_RING));
    let rows = records.into_iter().map(|record| (record, None)).collect();
    fold.apply(rows, Position::MAX).map_err(|damage| damage.to_string())?;
    Ok(fold)
}

impl Checks {
    pub(super) fn new(database: Database) -> Self {
        Self { database, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn violation(&self, violation: String) {
        self.state().violations.push(violation);
    }

    fn require(&self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.violation(violation());
        }
    }

    /// Numbers a command that is about to be submitted.
    pub(super) fn submitted(&self, proposal: &Proposal) {
        let id = proposal.command_id;
        let mut state = self.state();
        if proposal.retry_until.is_some() {
            state.repeated.insert(id);
        }
        let number = state.commands.len();
        state.commands.insert(id, number);
    }

    /// A published state is a state of the log.
    pub(super) fn published(&self, view: &View) {
        let position = view.state.position;
        let record = self.database.record(position);
        let is_in_log = record.is_some_and(|record| record.chain_hash == view.chain_hash);
        self.require(is_in_log, || format!("position {position} is published but not in the log"));
    }

    /// The log has what a caller is told.
    pub(super) fn answered(&self, id: CommandId, result: &Result<Outcome, WriteError>) {
        match result {
            Ok(Outcome::Committed(committed)) => self.committed(id, committed),
            Ok(Outcome::Duplicate(earlier)) => {
                let first = self.database.record(earlier.position);
                let is_first = first.is_some_and(|record| {
                    record.step == Some(earlier.step) && record.command_id != id
                });
                self.require(is_first, || {
                    format!("a duplicate of {earlier:?}, which is not in the log")
                });
            }
            // a database without faults is no reason to give up, and an ending is repeated
            Err(error @ (WriteError::Store(_) | WriteError::InDoubt(_)))
                if !self.database.has_faults() || self.state().repeated.contains(&id) =>
            {
                self.given_up(error);
            }
            Err(WriteError::InDoubt(_)) => {}
            Err(
                WriteError::Store(_)
                | WriteError::Refused(_)
                | WriteError::OtherBody
                | WriteError::SubjectErased
                | WriteError::QueueFull,
            ) => self.state().failed.push(id),
            Err(error) => self.violation(format!("no run may end a command with: {error}")),
        }
        let short = match result {
            Ok(Outcome::Committed(committed)) => format!("{} events", committed.events.len()),
            Ok(Outcome::Duplicate(earlier)) => format!("duplicate of step {}", earlier.step),
            Err(error) => error.to_string(),
        };
        let mut state = self.state();
        let number = state.commands[&id];
        state.answers.push((number, short));
    }

    /// An error that stays is no reason to repeat a command.
    fn given_up(&self, error: &WriteError) {
        let is_permanent = matches!(error, WriteError::Store(StoreError::Other(_)));
        self.require(is_permanent && self.database.has_faults(), || {
            format!("a command was given up: {error}")
        });
    }

    /// The published state includes every event whose caller has been answered.
    pub(super) fn includes(&self, view: &View, result: &Result<Outcome, WriteError>) {
        let Ok(Outcome::Committed(committed)) = result else { return };
        let last = committed.events.last().map_or(0, |(envelope, _)| envelope.position);
        self.require(view.state.position >= last, || {
            format!("position {last} was answered but is not published")
        });
    }

    fn committed(&self, id: CommandId, committed: &Committed) {
        for (index, (envelope, event)) in committed.events.iter().enumerate() {
            let position = envelope.position;
            let record = self.database.record(position);
            let is_in_log = record.is_some_and(|record| {
                record.command_id == id
                    && record.kind == event.kind()
                    && (index > 0 || record.chain_hash == committed.chain_hash)
            });
            self.require(is_in_log, || {
                format!("position {position} was answered but is not in the log")
            });
        }
    }

    /// When every caller has its answers, no command waits.
    pub(super) fn idle(&self, depth: usize) {
        self.require(depth == 0, || format!("{depth} commands still count as waiting"));
    }

    /// The newest state of a process is the fold of the log up to it.
    pub(super) fn last_view(&self, view: &View) {
        self.published(view);
        let mut records = self.database.records();
        records.truncate(view.state.position as usize);
        let folded = fold(records).ok().and_then(|fold| fold.state);
        let is_fold =
            folded.is_some_and(|state| digest::state(&state) == digest::state(&view.state));
        self.require(is_fold, || "a published state is not the fold of the log".to_owned());
    }

    /// The log is gapless and one chain, its time does not fall, and no command is in it twice.
    pub(super) fn last_log(&self) {
        let records = self.database.records();
        let positions = records.iter().map(|record| record.position);
        self.require(positions.eq(1..=records.len() as Position), || {
            let positions: Vec<_> = records.iter().map(|record| record.position).collect();
            format!("the log has a gap: {positions:?}")
        });
        self.require(records.is_sorted_by_key(|record| record.recorded_at), || {
            "the log's time falls".to_owned()
        });
        if let Err(damage) = fold(records.clone()) {
            self.violation(format!("the log cannot be folded: {damage}"));
        }
        let mut seen = HashSet::new();
        for Record { command_id, kind, position, .. } in &records {
            // one command may consolidate in several pages
            let is_new = kind.starts_with("memory.") || seen.insert((*command_id, kind));
            self.require(is_new, || format!("position {position}: a command is in the log twice"));
        }
        let state = self.state();
        let failed = state.failed.iter().filter(|id| records.iter().any(|r| r.command_id == **id));
        let failed = failed.count();
        let unanswered = state.commands.len() - state.answers.len();
        drop(state);
        self.require(failed == 0, || format!("{failed} refused commands are in the log"));
        self.require(unanswered == 0, || format!("{unanswered} commands were not answered"));
    }

    /// The trace of the run, or its violations.
    pub(super) fn result(&self) -> Result<Trace, Vec<String>> {
        let mut state = self.state();
        if !state.violations.is_empty() {
            return Err(std::mem::take(&mut state.violations));
        }
        let number =
            |record: Record| (record.kind, state.commands.get(&record.command_id).copied());
        let log = self.database.records().into_iter().map(number).collect();
        Ok(Trace { log, answers: state.answers.clone() })
    }
}
