//! What callers hand to the writer, and what they get back.

use std::sync::Arc;

use tokio::sync::oneshot;

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

/// A command with whose it is, what it says, and how it is told from others.
#[derive(Debug)]
pub struct Proposal {
    /// Found again in the log after a commit of unknown outcome.
    pub command_id: CommandId,
    /// What is asked.
    pub command: Command,
    /// Whose words; none for acts on the engine.
    pub subject: Option<Arc<Subject>>,
    /// Who asked.
    pub actor: Actor,
    /// The request's id.
    pub request_id: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// Text and vector, sealed with the subject's key for this command.
    pub content: Option<Sealed>,
    /// SHA-256 of the prompt, with the first event of a step: its HMAC needs the subject's key.
    pub prompt_digest: Option<[u8; 32]>,
    /// A claim on an idempotency key, with the first event of a step.
    pub claim: Option<Claim>,
    /// With the ending of a step: whether it may hold an idempotency key.
    pub ends_claim: bool,
}

/// Sealed content with its hashes, made by its caller: which part is kept is decided by the writer,
/// whose time is dear.
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

    /// The part that is kept, with its hash.
    pub(super) fn kept(&self, retention: Retention) -> Option<(Content, Sha256)> {
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

/// Who asked.
#[derive(Clone, Debug)]
pub enum Actor {
    /// Nobody: the server itself.
    Server,
    /// Somebody under a pseudonym.
    Subject(Arc<Subject>),
    /// An administrator, by clear name.
    Clear(String),
}

/// A claim on an idempotency key.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The route it counts for.
    pub route: String,
    /// The caller's key.
    pub key: String,
    /// SHA-256 of the request's body; stored only as an HMAC under the subject's key.
    pub body_digest: [u8; 32],
}

/// A published state.
#[derive(Clone, Debug)]
pub struct View {
    /// The state.
    pub state: State,
    /// Chain hash of the event at its position.
    pub chain_hash: Sha256,
}

/// What became of a command.
#[derive(Debug)]
pub enum Outcome {
    /// Its events are in the log.
    Committed(Committed),
    /// Its idempotency key belongs to an earlier step.
    Duplicate(Earlier),
}

/// Events of one command, durable.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// In order; empty when the command was fulfilled already.
    pub events: Vec<(Envelope, Event)>,
    /// Chain hash after the first of them: the receipt of a step's event.
    pub chain_hash: Sha256,
    /// The subject as the log knows it.
    pub subject: Option<Arc<Subject>>,
}

/// The step an idempotency key belongs to.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Its number.
    pub step: u64,
    /// Its first event.
    pub position: Position,
    /// Its ending, if it has one.
    pub ended: Option<Position>,
    /// The subject whose key opens its contents.
    pub subject: Arc<Subject>,
}

/// Why a command was not recorded. Nothing of it is in the log, unless the text says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The domain refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its idempotency key was used with another body.
    #[error("this Idempotency-Key was used with another request body")]
    OtherBody,
    /// Its data subject was erased while it was under way.
    #[error("the data subject was erased while the request was under way; send it again")]
    SubjectErased,
    /// Too much waits already.
    #[error("the log's queue is full")]
    QueueFull,
    /// The engine is being unloaded or the server stops.
    #[error("the engine is being unloaded")]
    Closed,
    /// The database is not there; an unknown outcome shows in the log later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log is damaged: the engine is refused.
    #[error(transparent)]
    Damage(Arc<LogDamage>),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A decided event could not be folded or written: a defect, nothing was recorded.
    #[error("an event could not be made: {0}")]
    Defect(String),
}

/// A proposal and who waits for it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) proposal: Proposal,
    pub(super) answer: oneshot::Sender<Result<Outcome, WriteError>>,
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
        }
    }

    /// Bytes of content, for the bound on a batch.
    pub(super) fn size(&self) -> usize {
        self.content.as_ref().map_or(0, Sealed::size)
    }

    /// Another replica made this subject first: its pseudonym and key are used instead.
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
}

/// The prompt's keyed hash as it stands in the log.
pub fn prompt_hmac(key: &SubjectKey, prompt_digest: &[u8; 32]) -> String {
    hex::encode(key.hmac("prompt", prompt_digest))
}
