//! One governed step, from a request to its recorded answer.
//!
//! The order is the contract: `step.admitted` or `step.rejected` is durable before a model is asked,
//! the ending is durable before the answer is complete, and no lock or transaction is held between.

mod answer;
mod count;
mod expect;
mod run;
mod start;
mod wait;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Engine, Running, spans};
use crate::{
    domain::{
        budget::{Amount, KeyLimit},
        command::{Admit, Command},
        event::{Envelope, Event, FailStage, StepAdmitted},
        ids::{CommandId, Micros},
    },
    llm::{Delta, Extra, Message, Sink, ToolCall},
    score,
    store::{
        Content, StoreError,
        keys::Column,
        seal::SealError,
        subject::Subject,
        writer::{
            Actor, Claim, Committed, Earlier, Outcome, Proposal, Sealed, WriteError, prompt_hmac,
        },
    },
};
pub use answer::Answer;
pub use start::StepHandle;

/// A request to generate, validated.
#[derive(Clone, Default, Serialize)]
pub struct StepRequest {
    /// The prompt, not blank: what is scored, embedded and remembered.
    pub prompt: String,
    /// The chat that the prompt is part of; without one the prompt is all the model is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<Chat>,
    /// The model wanted; the configured one without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Sampling temperature; the configured one without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The caller's own score in [0, 1].
    pub moral_value: Option<f64>,
    /// Most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// Most memories given as context; the policy's number without.
    pub context_top_k: Option<usize>,
    /// The caller's own short notes; sealed with the prompt.
    pub metadata: BTreeMap<String, String>,
}

/// A chat, as a client of a model writes it.
#[derive(Clone, Serialize)]
pub struct Chat {
    /// What was said so far.
    pub messages: Vec<Message>,
    /// Which of them holds the prompt; what is remembered goes before it.
    pub prompt: usize,
    /// Whether the answer may be cut short in sleep: not if it has to have a form.
    pub shortenable: bool,
    /// The caller's own wishes.
    pub extra: Extra,
}

/// Who asks, and by which request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who authenticated.
    pub actor: String,
    /// Whose words it is, when not the actor's own.
    pub end_user: Option<String>,
    /// The request's id.
    pub request_id: String,
    /// The trace it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// The route template it came by.
    pub route: String,
    /// Makes a repeated request safe.
    pub idempotency_key: Option<String>,
    /// What the API key it came with may spend in a window, if that is limited.
    pub key_limit: Option<Amount>,
}

/// An answer, and whether it is an earlier one's.
#[derive(Clone, Debug)]
pub struct StepResponse {
    /// The answer.
    pub answer: Answer,
    /// Whether an earlier request with the same idempotency key ran the step.
    pub replayed: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StepError {
    /// The log did not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The step was admitted and failed.
    #[error("step {step} failed: {stage:?} ({code})")]
    Failed {
        /// Its number.
        step: u64,
        /// Where.
        stage: FailStage,
        /// A short name of the cause.
        code: String,
        /// When it may be worth trying again, if somebody knows.
        retry_after: Option<Duration>,
    },
    /// A request with the same key is still running.
    #[error("a request with this Idempotency-Key is still running; ask again later")]
    StillRunning,
    /// The answer came after the step had been given up; it was discarded.
    #[error("the answer to step {step} came after the step had been given up")]
    TooLate {
        /// Its number.
        step: u64,
    },
    /// The request names a model that may not be asked; nothing was recorded.
    #[error("this model may not be asked; llm.models lists those that may, and so does /v1/models")]
    ModelNotAllowed,
    /// An earlier answer's text no longer exists.
    #[error("the earlier answer was erased")]
    Erased,
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

impl From<SealError> for StepError {
    fn from(error: SealError) -> Self {
        Self::Write(error.into())
    }
}

/// The sealed text of `step.admitted` and `step.rejected`, as it is written.
#[derive(Serialize)]
struct SealedPrompt<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat: Option<&'a Chat>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

/// The part of it that is remembered.
#[derive(Deserialize)]
pub(super) struct PromptText {
    pub(super) prompt: String,
}

/// The sealed text of `step.completed`, and of what was said until a `step.failed`.
#[derive(Serialize, Deserialize)]
pub(super) struct AnswerText {
    pub(super) answer: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<ToolCall>,
}

/// A step that may go to the model.
pub(super) struct Admitted {
    pub(super) step: u64,
    pub(super) event: Box<StepAdmitted>,
    subject: Arc<Subject>,
    actor: Actor,
    started: Instant,
    deadline: Instant,
}

pub(super) enum Admission {
    Admitted(Admitted),
    Rejected(Box<Answer>),
    Earlier(Earlier),
}

impl Engine {
    /// Runs one step. Cancelling the token (the caller went away) ends it as `step.failed`; the
    /// future itself must be run to its end.
    pub async fn generate(
        &self,
        caller: &Caller,
        request: &StepRequest,
        pieces: Option<mpsc::Sender<Delta>>,
        cancelled: &CancellationToken,
    ) -> Result<StepResponse, StepError> {
        let _running = Running::new(self);
        self.metrics.requests.inc();
        if request.model.as_ref().is_some_and(|model| !self.parts.llm.allows(model)) {
            return Err(StepError::ModelNotAllowed);
        }
        let started = Instant::now();
        match spans::deciding(&self.id, self.admit(caller, request, started)).await? {
            Admission::Rejected(answer) => {
                self.metrics.steps.latency.observe_in_trace(started.elapsed());
                Ok(StepResponse { answer: *answer, replayed: false })
            }
            Admission::Earlier(earlier) => {
                let answer = self.wait_for(&earlier, started).await?;
                Ok(StepResponse { answer, replayed: true })
            }
            Admission::Admitted(step) => {
                let sink = Sink::new(pieces);
                let answer = self.run(caller, request, step, sink, cancelled).await?;
                Ok(StepResponse { answer, replayed: false })
            }
        }
    }

    async fn admit(
        &self,
        caller: &Caller,
        request: &StepRequest,
        started: Instant,
    ) -> Result<Admission, StepError> {
        let proposal = self.proposal(caller, request, started).await?;
        let subject = proposal.subject.clone();
        let outcome = match self.propose(proposal).await {
            Err(WriteError::SubjectErased) => {
                // the name is a stranger's from now on
                if let Some(subject) = subject {
                    self.directory.forget(subject.subject_ref);
                }
                let again = self.proposal(caller, request, started).await?;
                self.propose(again).await?
            }
            other => other?,
        };
        match outcome {
            Outcome::Duplicate(earlier) => Ok(Admission::Earlier(earlier)),
            Outcome::Committed(committed) => self.admission(caller, committed, started).await,
        }
    }

    async fn admission(
        &self,
        caller: &Caller,
        committed: Committed,
        started: Instant,
    ) -> Result<Admission, StepError> {
        let chain_hash = committed.chain_hash;
        let first = committed.events.into_iter().next();
        match (first, committed.subject) {
            (Some((envelope, Event::StepAdmitted(event))), Some(subject)) => {
                let actor = self.actor(caller, &subject).await?;
                Ok(Admission::Admitted(Admitted {
                    step: envelope.step.unwrap_or_default(),
                    event,
                    subject,
                    actor: Actor::Subject(actor),
                    started,
                    deadline: started + self.settings.timeout,
                }))
            }
            (Some((envelope, Event::StepRejected(event))), _) => {
                let answer = Answer::rejected(&caller.request_id, &envelope, chain_hash, &event);
                Ok(Admission::Rejected(Box::new(answer)))
            }
            _ => Err(defect("an admission that admits nothing")),
        }
    }

    /// Scores, seals and describes a request; nothing is recorded yet.
    async fn proposal(
        &self,
        caller: &Caller,
        request: &StepRequest,
        started: Instant,
    ) -> Result<Proposal, StepError> {
        let name = caller.end_user.as_ref().unwrap_or(&caller.actor);
        let subject = self.subject(name).await?;
        let actor = self.actor(caller, &subject).await?;
        let holder = actor.subject_ref;
        let command_id = crate::ids::command_id();
        let text = SealedPrompt {
            prompt: &request.prompt,
            chat: request.chat.as_ref(),
            metadata: &request.metadata,
        };
        let prompt_digest: [u8; 32] = Sha256::digest(&request.prompt).into();
        let claim = caller.idempotency_key.as_ref().map(|key| Claim {
            route: caller.route.clone(),
            key: key.clone(),
            body_digest: body_digest(request),
        });
        let view = self.view();
        let policy = &view.state.policy;
        let admit = Admit {
            subject: subject.subject_ref,
            caller_score: request.moral_value,
            scored: score::score(policy.moral.scorer, &request.prompt),
            route: caller.route.clone(),
            model: request.model.clone(),
            max_tokens: request.max_tokens,
            shortenable: request.chat.as_ref().is_none_or(|chat| chat.shortenable),
            top_k: request.context_top_k,
            prompt_chars: request.prompt.chars().count(),
            prompt_tokens: expect::prompt_tokens(request, policy),
            price: expect::price(&self.parts.llm, request.model.as_deref()),
            key_limit: caller.key_limit.map(|limit| KeyLimit { holder, limit }),
            prompt_hmac: prompt_hmac(&subject.key, &prompt_digest),
            timeout: micros(self.settings.timeout),
            grace: micros(self.settings.grace),
            elapsed_ms: milliseconds(started.elapsed()),
        };
        Ok(Proposal {
            command_id,
            command: Command::Admit(Box::new(admit)),
            content: Some(seal(&subject, command_id, &text, None)?),
            subject: Some(subject),
            actor: Actor::Subject(actor),
            request_id: Some(caller.request_id.clone()),
            trace_id: caller.trace_id,
            prompt_digest: Some(prompt_digest),
            claim,
            ends_claim: false,
        })
    }

    /// A data subject by name; one nobody has heard of is made, and recorded with its first event.
    pub(super) async fn subject(&self, name: &str) -> Result<Arc<Subject>, WriteError> {
        let name_hmac = self.directory.name_hmac(name);
        if let Some(known) = self.directory.get(&name_hmac) {
            return Ok(known);
        }
        if let Some(row) = self.parts.store.subject_by_name(&self.id, &name_hmac).await? {
            let subject = Arc::new(self.directory.open(&row)?);
            self.directory.keep(&subject);
            return Ok(subject);
        }
        Ok(Arc::new(self.directory.make(name, crate::ids::subject_ref())?))
    }

    async fn actor(
        &self,
        caller: &Caller,
        subject: &Arc<Subject>,
    ) -> Result<Arc<Subject>, WriteError> {
        let own = caller.end_user.as_ref().is_none_or(|name| *name == caller.actor);
        if own { Ok(Arc::clone(subject)) } else { self.subject(&caller.actor).await }
    }
}

/// Seals the text and the vector of one command.
pub(super) fn seal<T: Serialize>(
    subject: &Subject,
    command_id: CommandId,
    text: &T,
    vector: Option<&[u8]>,
) -> Result<Sealed, WriteError> {
    let plain = serde_json::to_vec(text)
        .map_err(|_| WriteError::Defect("a text without a JSON form".to_owned()))?;
    let seal = |column, plain: &[u8]| subject.key.seal(command_id, column, plain);
    Ok(Sealed::new(Content {
        sealed: seal(Column::Text, &plain)?,
        vector: vector.map(|plain| seal(Column::Vector, plain)).transpose()?,
    }))
}

/// SHA-256 over the request as it is understood: spelling and order of its JSON do not count.
fn body_digest(request: &StepRequest) -> [u8; 32] {
    // a plain structure always has a JSON form
    Sha256::digest(serde_json::to_vec(request).unwrap_or_default()).into()
}

fn defect(what: &str) -> StepError {
    StepError::Write(WriteError::Defect(what.to_owned()))
}

fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_micros() as f64) / 1_000.0
}

/// The event of a step with its receipt.
struct Recorded<'a> {
    envelope: &'a Envelope,
    chain_hash: crate::domain::ids::Sha256,
}
