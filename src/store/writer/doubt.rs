//! Commands whose outcome is unknown: their transaction may or may not have been committed.
//!
//! A transaction in doubt has ended once the engine's row was locked again. Whatever it wrote is then in
//! the tail of the log, behind the state on which its batch was decided. The writer therefore searches
//! the tail at the next lock, over any number of failed attempts, and remembers what it found until the
//! commands are answered.
//!
//! An admission whose caller was told that the outcome is unknown has nobody who runs its step. If it is
//! in the log, the step is closed at once; otherwise it would reserve its budget and its idempotency key
//! until its deadline.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    proposal::{Actor, Committed, Proposal},
    queue::QueuedCommand,
};
use crate::{
    domain::{
        command::{Command, Fail},
        event::{Event, FailStage},
        ids::CommandId,
    },
    store::{codec, state_fold::RecordWithVector, subject::Subject},
};

/// The code of a step whose admission was confirmed after its caller had been answered.
const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// Maximum number of admissions that are looked for without a caller. Steps of further ones end at their
/// deadline.
const ORPHANS_MAX: usize = 4_096;

/// Time for which the ending of a step that nobody runs is repeated.
const ENDING_REPEATED: Duration = Duration::from_secs(30);

/// What is known of commands whose outcome is unknown.
#[derive(Default)]
pub(super) struct Doubt {
    /// True from a commit without an answer until the tail is folded.
    searches: bool,
    /// Commands in doubt that were not answered: after the search, those that are in the log.
    waiting: HashSet<CommandId>,
    /// The commands of the tail with their events, while any command waits.
    found: HashMap<CommandId, Committed>,
    /// Admissions whose callers were told that their outcome is unknown.
    orphans: Vec<(CommandId, Orphan)>,
}

/// The parts of an admission from which the ending of its step is made.
struct Orphan {
    subject: Option<Arc<Subject>>,
    actor: Actor,
    request_id: Option<String>,
    trace_id: Option<[u8; 16]>,
    holds_key: bool,
}

impl Doubt {
    /// True if the tail of the log must be searched.
    pub(super) const fn searches(&self) -> bool {
        self.searches
    }

    /// Notes that the commit of these commands was not confirmed.
    pub(super) fn begin(&mut self, commands: &[QueuedCommand]) {
        self.searches = true;
        self.waiting.extend(commands.iter().map(|command| command.proposal.command_id));
    }

    /// True if the command may be in the log.
    pub(super) fn concerns(&self, command: &QueuedCommand) -> bool {
        self.waiting.contains(&command.proposal.command_id)
    }

    /// The events of a command that is in the log.
    pub(super) fn committed(&self, command: CommandId) -> Option<&Committed> {
        self.found.get(&command)
    }

    /// Collects the commands of rows that are folded.
    pub(super) fn collect(&mut self, rows: &[RecordWithVector]) {
        if !self.searches {
            return;
        }
        for (record, _) in rows {
            let Ok(event) = codec::decode(&record.kind, record.schema_version, &record.payload)
            else {
                continue;
            };
            let committed = self.found.entry(record.command_id).or_default();
            if committed.events.is_empty() {
                committed.chain_hash = record.chain_hash;
            }
            committed.events.push((record.envelope(), event));
        }
    }

    /// Ends the search: the tail was folded under the lock. Returns the endings of the steps that nobody
    /// runs.
    pub(super) fn searched(&mut self) -> Vec<QueuedCommand> {
        self.searches = false;
        self.waiting.retain(|command| self.found.contains_key(command));
        let endings = std::mem::take(&mut self.orphans).into_iter().filter_map(|(id, orphan)| {
            let mut events = self.found.get(&id)?.events.iter();
            let is_admission = |event: &Event| matches!(event, Event::StepAdmitted(_));
            let (admitted, _) = events.find(|(_, event)| is_admission(event))?;
            Some(QueuedCommand::of_writer(orphan.ending(admitted.step?)))
        });
        let endings = endings.collect();
        self.forget_found();
        endings
    }

    /// Notes that these commands are answered.
    pub(super) fn answered(&mut self, commands: &[QueuedCommand]) {
        for command in commands {
            self.waiting.remove(&command.proposal.command_id);
        }
        self.forget_found();
    }

    /// Looks for an admission whose caller gets no further answer.
    pub(super) fn orphan(&mut self, proposal: &Proposal) {
        let is_admission = matches!(proposal.command, Command::Admit(_));
        if !is_admission || self.orphans.len() >= ORPHANS_MAX {
            return;
        }
        let orphan = Orphan {
            subject: proposal.subject.clone(),
            actor: proposal.actor.clone(),
            request_id: proposal.request_id.clone(),
            trace_id: proposal.trace_id,
            holds_key: proposal.claim.is_some(),
        };
        self.orphans.push((proposal.command_id, orphan));
        self.searches = true;
    }

    fn forget_found(&mut self) {
        if !self.searches && self.waiting.is_empty() {
            self.found.clear();
        }
    }
}

impl Orphan {
    fn ending(self, step: u64) -> Proposal {
        let Self { subject, actor, request_id, trace_id, holds_key } = self;
        let fail = Fail::new(step, FailStage::Cancelled, OUTCOME_UNKNOWN.to_owned(), 0.0);
        Proposal {
            subject,
            request_id,
            trace_id,
            ends_claim: holds_key,
            retry_until: Some(Instant::now() + ENDING_REPEATED),
            ..Proposal::of_engine(crate::ids::command_id(), Command::Fail(Box::new(fail)), actor)
        }
    }
}
