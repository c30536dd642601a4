//! A batch: the commands of one transaction with the rows and outcomes decided for them.

use std::{collections::HashMap, sync::Arc};

use super::{
    claims::Claims,
    proposal::{Committed, Outcome, Proposal, WriteError},
    queue::{Limits, QueuedCommand},
};
use crate::{
    domain::{
        ids::{MacKeyId, Micros, Position, Sha256},
        state::State,
    },
    store::{Content, Record, Rows, SubjectRow, seal::SealError, subject::Subject},
};

/// A state of the log between two batches. Clones share structure.
#[derive(Clone)]
pub(super) struct Checkpoint {
    pub(super) state: Option<State>,
    pub(super) chain_hash: Sha256,
    /// The lowest MAC key that the next event may have.
    pub(super) least_mac_key: MacKeyId,
}

impl Checkpoint {
    /// Position and chain hash of its newest event.
    pub(super) fn head(&self) -> (Position, Sha256) {
        (self.state.as_ref().map_or(0, |state| state.position), self.chain_hash)
    }
}

/// The commands of one transaction, in order, with all that is decided for them.
pub(super) struct Batch {
    pub(super) commands: Vec<QueuedCommand>,
    /// One for each command, in the same order.
    pub(super) outcomes: Vec<Result<Outcome, WriteError>>,
    /// The outcome of an attestation, which the writer adds by itself: no caller waits for it.
    pub(super) attestation: Option<Result<Outcome, WriteError>>,
    pub(super) records: Vec<Record>,
    pub(super) contents: Vec<(Position, Content)>,
    /// New data subjects.
    pub(super) subjects: Vec<SubjectRow>,
    /// The owners of names that are new to their commands: a subject in the log, or the first here.
    names: HashMap<[u8; 32], Arc<Subject>>,
    pub(super) claims: Claims,
    /// The new log format and the index key wrapped for it, if the batch raises the format.
    pub(super) raised: Option<(u32, Vec<u8>)>,
    /// The state that the first command was decided on. Its head is the batch's expected version.
    pub(super) before: Checkpoint,
    /// Time of all its events.
    pub(super) recorded_at: Micros,
    bytes: usize,
}

impl Batch {
    /// An empty batch on this state.
    pub(super) fn new(before: Checkpoint, recorded_at: Micros) -> Self {
        Self {
            commands: Vec::new(),
            outcomes: Vec::new(),
            attestation: None,
            records: Vec::new(),
            contents: Vec::new(),
            subjects: Vec::new(),
            names: HashMap::new(),
            claims: Claims::default(),
            raised: None,
            before,
            recorded_at,
            bytes: 0,
        }
    }

    /// Adds a command; its outcome is added next.
    pub(super) fn add(&mut self, command: QueuedCommand) {
        self.bytes += command.proposal.size();
        self.commands.push(command);
    }

    /// Adds a command whose events an earlier attempt brought into the log.
    pub(super) fn add_committed(
        &mut self,
        mut command: QueuedCommand,
        committed: Committed,
    ) -> Result<(), WriteError> {
        let bound = self.bind_names(&mut command.proposal);
        let subject = command.proposal.subject.clone();
        self.add(command);
        bound?;
        self.outcomes.push(Ok(Outcome::Committed(Committed { subject, ..committed })));
        Ok(())
    }

    /// Adds a subject of the log under whose name commands may have made new ones.
    pub(super) fn add_owner(&mut self, subject: Arc<Subject>) {
        self.names.insert(subject.name_hmac, subject);
    }

    /// Binds a command's new names to the subject that had them first: one of the log, one of an
    /// earlier command of this batch, or the command's own.
    pub(super) fn bind_names(&mut self, proposal: &mut Proposal) -> Result<(), SealError> {
        for subject in proposal.subjects() {
            let Some(row) = &subject.fresh else { continue };
            if let Some(owner) = self.names.get(&subject.name_hmac) {
                proposal.rebind(owner)?;
            } else {
                self.subjects.push(row.clone());
                self.names.insert(subject.name_hmac, subject);
            }
        }
        Ok(())
    }

    /// Its rows and their expected version.
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows { expected: self.before.head(), events: &self.records, contents: &self.contents }
    }

    /// True if a further command would exceed a limit.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.commands.len().max(self.records.len()) >= limits.batch_events
            || self.bytes >= limits.batch_bytes
    }

    /// True if this command would still be within the limits.
    pub(super) fn has_room(&self, proposal: &Proposal, limits: &Limits) -> bool {
        !self.is_full(limits) && self.bytes + proposal.size() <= limits.batch_bytes
    }

    /// True if the append fails in case the log already has a name or key of the newest command.
    /// A command that writes nothing inserts no row by which that would show.
    pub(super) fn shows_conflicts(&self) -> bool {
        let writes = match self.outcomes.last() {
            Some(Ok(Outcome::Committed(committed))) => !committed.events.is_empty(),
            Some(Ok(Outcome::Duplicate(_))) => true,
            Some(Err(_)) | None => false,
        };
        let newest = self.commands.last();
        (writes || newest.is_none_or(|command| !command.proposal.takes_names()))
            && !self.claims.releases_after_claiming()
    }

    /// Answers the callers.
    pub(super) fn respond(
        commands: Vec<QueuedCommand>,
        outcomes: Vec<Result<Outcome, WriteError>>,
    ) {
        for (command, outcome) in commands.into_iter().zip(outcomes) {
            command.respond(outcome);
        }
    }
}

/// Answers commands with an error: nothing of them is recorded.
pub(super) fn refuse(commands: impl IntoIterator<Item = QueuedCommand>, error: &WriteError) {
    for command in commands {
        command.respond(Err(error.clone()));
    }
}
