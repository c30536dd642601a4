//! Commands that callers submit to the writer, and the results they get back.

use std::sync::Arc;

use tokio::time::Instant;

use crate::domain::{
    command::{Command, Refusal},
    decide::Retention,
    event::{Envelope, Event},
    ids::{CommandId, Position, Sha256, SubjectRef},
    state::State,
};

use crate::store::{
    Content, StoreError, chain,
    keys::{Column, SubjectKey},
    seal::SealError,
    state_fold::LogDamage,
    subject::Subject,
};

/// A command, with the content and identities recorded with it.
#[derive(Debug)]
pub struct Proposal {
    /// Identifies the command in the log, also after a commit of unknown outcome.
    pub command_id: CommandId,
    /// The command itself.
    pub command: Command,
    /// The data subject of its content; `None` for acts on the engine.
    pub subject: Option<Arc<Subject>>,
    /// The actor recorded with its events.
    pub actor: Actor,
    /// Id of the HTTP request.
    pub request_id: Option<String>,
    /// Id of the trace.
    pub trace_id: Option<[u8; 16]>,
    /// Text and vector, sealed with the subject's key for this command.
    pub content: Option<Sealed>,
    /// SHA-256 of the prompt, with the first event of a step: its HMAC needs the subject's key.
    pub prompt_digest: Option<[u8; 32]>,
    /// A claim on an idempotency key, with the first event of a step.
    pub claim: Option<Claim>,
    /// With the ending of a step: whether the step may hold an idempotency key.
    pub ends_claim: bool,
    /// Time until which the writer repeats the append if the database does not answer or refuses it for
    /// now. `None`: it answers with the error. An ending is repeated, because nobody can run its step
    /// again.
    pub retry_until: Option<Instant>,
}

/// Sealed content with its hashes. Callers make them, off the writer's critical path, for both parts
/// that the command may turn out to retain.
#[derive(Clone, Debug)]
pub struct Sealed {
    content: Content,
    text: Sha256,
    whole: Sha256,
}

impl Sealed {
    /// Hashes sealed content.
    pub fn new(content: Content) -> Self {
        let text = chain::content_hash(&content.sealed, None);
        let whole = match &content.vector {
            None => text,
            Some(vector) => chain::content_hash(&content.sealed, Some(vector)),
        };
        Self { content, text, whole }
    }

    /// The part to retain, with its hash.
    pub(super) fn retained(&self, retention: Retention) -> Option<(Content, Sha256)> {
        match retention {
            Retention::Nothing => None,
            Retention::Text => {
                let sealed = self.content.sealed.clone();
                Some((Content { sealed, vector: None }, self.text))
            }
            Retention::TextAndVector => Some((self.content.clone(), self.whole)),
        }
    }

    fn size(&self) -> usize {
        self.content.sealed.len() + self.content.vector.as_ref().map_or(0, Vec::len)
    }
}

/// The originator of a command.
#[derive(Clone, Debug)]
pub enum Actor {
    /// The server itself.
    Server,
    /// A data subject, recorded by pseudonym.
    Subject(Arc<Subject>),
    /// An administrator, recorded by name in clear text.
    Clear(String),
}

/// A claim on an idempotency key.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The route within which the key is unique.
    pub route: String,
    /// The value of the request's `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of the request's body; stored only as an HMAC under the subject's key.
    pub body_digest: [u8; 32],
}

/// A published state.
#[derive(Clone, Debug)]
pub struct View {
    /// The fold of the log up to its position.
    pub state: State,
    /// Chain hash of the event at its position.
    pub chain_hash: Sha256,
}

/// The result of a command that was not refused.
#[derive(Debug)]
pub enum Outcome {
    /// Its events are in the log.
    Committed(Committed),
    /// Its idempotency key belongs to an earlier step.
    Duplicate(Earlier),
}

/// The durable events of one command.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// In order; empty if the command had no effect (a second shutdown, an unchanged policy).
    pub events: Vec<(Envelope, Event)>,
    /// Chain hash after the first of them: the receipt of a step's event.
    pub chain_hash: Sha256,
    /// The subject with the pseudonym and key that the log has.
    pub subject: Option<Arc<Subject>>,
}

/// The step that an idempotency key belongs to.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Step number.
    pub step: u64,
    /// Position of its first event.
    pub position: Position,
    /// Position of its last event, if it has ended.
    pub ended: Option<Position>,
    /// The subject whose key opens its contents.
    pub subject: Arc<Subject>,
}

/// The reason why a command was not recorded. None of its events is in the log, except perhaps after
/// [`WriteError::InDoubt`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The domain refuses the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its idempotency key was used with another body.
    #[error("this Idempotency-Key was used with another request body")]
    OtherBody,
    /// The data subject was erased meanwhile.
    #[error("the data subject was erased while the request was under way; send it again")]
    SubjectErased,
    /// The number of waiting commands has reached [`Limits::queue`](super::Limits::queue).
    #[error("the log's queue is full")]
    QueueFull,
    /// The engine is being unloaded or the server stops.
    #[error("the engine is being unloaded")]
    Closed,
    /// The limit of the caller is over. The command may have been recorded, or will be.
    #[error("the event log did not answer in time; whether the request is recorded is unknown")]
    Overdue,
    /// The database failed. Nothing is in the log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database did not confirm the commit: the events are in the log, or they are not.
    #[error(
        "the outcome is unknown, the command is recorded or not: {0}; send it again with the same \
         Idempotency-Key"
    )]
    InDoubt(#[source] StoreError),
    /// The engine is untrusted: its log is damaged.
    #[error("the log cannot be trusted, so the engine accepts no commands: {0}")]
    Untrusted(Arc<LogDamage>),
    /// Content or a subject key could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A decided event could not be encoded or folded: a defect of this program.
    #[error("an event could not be made: {0}")]
    Defect(String),
}

impl WriteError {
    /// True if the same append may succeed later without intervention, or after one at the database
    /// alone.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) | Self::InDoubt(error) if error.may_pass())
    }

    /// The same error for a command of which a part may be in the log.
    pub(super) fn in_doubt(self) -> Self {
        match self {
            Self::Store(error) => Self::InDoubt(error),
            Self::Untrusted(damage) => Self::InDoubt(StoreError::Other(damage.to_string())),
            other @ (Self::Refused(_)
            | Self::OtherBody
            | Self::SubjectErased
            | Self::QueueFull
            | Self::Closed
            | Self::Overdue
            | Self::InDoubt(_)
            | Self::Seal(_)
            | Self::Defect(_)) => other,
        }
    }
}

impl Proposal {
    /// A command on the engine itself.
    pub fn of_engine(command_id: CommandId, command: Command, actor: Actor) -> Self {
        Self {
            command_id,
            command,
            subject: None,
            actor,
            request_id: None,
            trace_id: None,
            content: None,
            prompt_digest: None,
            claim: None,
            ends_claim: false,
            retry_until: None,
        }
    }

    /// Bytes of content, for the limit on a batch.
    pub(super) fn size(&self) -> usize {
        self.content.as_ref().map_or(0, Sealed::size)
    }

    /// Uses the pseudonym and key of `winner`, under whose name another command made a subject first.
    pub(super) fn rebind(&mut self, winner: &Arc<Subject>) -> Result<(), SealError> {
        if let Actor::Subject(actor) = &self.actor
            && actor.name_hmac == winner.name_hmac
        {
            if let Command::Admit(admit) = &mut self.command
                && let Some(key) = &mut admit.key_limit
            {
                key.holder = winner.subject_ref;
            }
            self.actor = Actor::Subject(Arc::clone(winner));
        }
        if self.subject.as_ref().is_some_and(|own| own.subject_ref == winner.subject_ref) {
            self.subject = Some(Arc::clone(winner));
        }
        let is_other = |own: &&Arc<Subject>| {
            own.name_hmac == winner.name_hmac && own.subject_ref != winner.subject_ref
        };
        let Some(own) = self.subject.as_ref().filter(is_other).cloned() else {
            return Ok(());
        };
        if let Some(Sealed { content, .. }) = &self.content {
            let again = |column, sealed: &[u8]| {
                let plain = own.key.open(self.command_id, column, sealed)?;
                winner.key.seal(self.command_id, column, &plain)
            };
            let sealed = again(Column::Text, &content.sealed)?;
            let vector = content.vector.as_deref().map(|vector| again(Column::Vector, vector));
            self.content = Some(Sealed::new(Content { sealed, vector: vector.transpose()? }));
        }
        if let Command::Admit(admit) = &mut self.command {
            admit.subject = winner.subject_ref;
            if let Some(digest) = &self.prompt_digest {
                admit.prompt_hmac = prompt_hmac(&winner.key, digest);
            }
        }
        if let Command::Add(add) = &mut self.command {
            add.subject = winner.subject_ref;
        }
        self.subject = Some(Arc::clone(winner));
        Ok(())
    }

    pub(super) fn pseudonym(&self) -> Option<SubjectRef> {
        self.subject.as_ref().map(|subject| subject.subject_ref)
    }

    /// Its data subject and its actor, without repetition.
    pub(super) fn subjects(&self) -> Vec<Arc<Subject>> {
        let mut all: Vec<Arc<Subject>> = self.named().cloned().collect();
        all.dedup_by_key(|subject| subject.name_hmac);
        all
    }

    fn named(&self) -> impl Iterator<Item = &Arc<Subject>> {
        let actor = match &self.actor {
            Actor::Subject(actor) => Some(actor),
            Actor::Server | Actor::Clear(_) => None,
        };
        self.subject.iter().chain(actor)
    }

    /// True if it claims an idempotency key or has a subject that may be new to the log.
    pub(super) fn takes_names(&self) -> bool {
        (self.claim.is_some() && self.subject.is_some())
            || self.named().any(|subject| subject.fresh.is_some())
    }

    /// True if it adds content of its data subject, which an erased subject can no longer have.
    pub(super) const fn takes_content(&self) -> bool {
        matches!(self.command, Command::Admit(_) | Command::Add(_))
    }
}

impl Actor {
    /// The name in the log.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::Server => None,
            Self::Subject(subject) => Some(subject.subject_ref.to_string()),
            Self::Clear(name) => Some(name.clone()),
        }
    }
}

/// The keyed hash of a prompt, in the form in which the log has it.
pub fn prompt_hmac(key: &SubjectKey, prompt_digest: &[u8; 32]) -> String {
    hex::encode(key.hmac("prompt", prompt_digest))
}
