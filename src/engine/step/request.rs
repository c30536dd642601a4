//! A request to run a step, and the caller that sends it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{answer::AnswerIds, error::Failure};
use crate::{
    domain::{
        budget::Amount,
        event::{Auth, FailStage, Sampling, TokenRule},
        policy::{JudgedScope, MemoryMode, Policy},
    },
    engine::Engine,
    inflight::Lease,
    json,
    llm::{
        Deadline, Extra, LlmError, Message, Messages, Role, TokenLimit,
        turn::{self, Place, Prompt},
    },
};

/// Longest beginning of a prompt that is embedded, in characters.
const EMBEDDED_CHARS: usize = 100_000;

/// A validated request. Its JSON form is what an idempotency key is bound to.
#[derive(Clone, Default, Serialize)]
pub struct StepRequest {
    /// The prompt: the text that is hashed, embedded and remembered. Empty if the chat has only media.
    #[serde(serialize_with = "text")]
    pub prompt: Arc<str>,
    /// The chat that contains the prompt. Without one the prompt is the only message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<Chat>,
    /// The requested model; `None` for the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Sampling temperature; `None` for the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The caller's moral score of the prompt, in [0, 1].
    pub moral_value: Option<f64>,
    /// Maximum number of tokens of the answer.
    pub max_tokens: Option<TokenLimit>,
    /// Maximum number of memories given as context; `None` for the policy's number.
    pub context_top_k: Option<usize>,
    /// The use of the memory that the request asks for; the policy may allow less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryMode>,
    /// The id of the response that the request continues, as the caller gave it. Its messages are in the
    /// chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continued: Option<String>,
    /// The caller's metadata, sealed together with the prompt.
    pub metadata: BTreeMap<String, String>,
}

impl StepRequest {
    /// The part of the prompt that is embedded.
    pub(super) fn embedded(&self) -> &str {
        let prompt = &*self.prompt;
        let end = prompt.char_indices().nth(EMBEDDED_CHARS).map_or(prompt.len(), |(end, _)| end);
        &prompt[..end]
    }

    /// The texts that a scope judges.
    pub(super) fn judged(&self, scope: JudgedScope) -> Vec<Cow<'_, str>> {
        match &self.chat {
            None => vec![Cow::Borrowed(&*self.prompt)],
            Some(chat) => turn::judged(&chat.messages, &chat.extra, chat.turn, scope),
        }
    }

    /// The use of the memory: at most what the policy allows.
    pub(super) fn memory(&self, policy: &Policy) -> MemoryMode {
        policy.memory.mode.min(self.memory.unwrap_or_default())
    }

    /// The rule that limits the answer. Clients of a chat API get the limit that they name.
    pub(super) const fn token_rule(&self) -> TokenRule {
        if self.chat.is_some() { TokenRule::Caller } else { TokenRule::Phase }
    }

    /// The sampling parameters, as the caller gave them.
    pub(super) fn sampling(&self) -> Option<Sampling> {
        let none = Extra::default();
        self.chat.as_ref().map_or(&none, |chat| &chat.extra).sampling(self.temperature)
    }

    /// SHA-256 of the validated request. Spelling and order of the JSON that was received do not
    /// influence it.
    pub(super) fn body_digest(&self) -> [u8; 32] {
        Sha256::digest(json::canonical(self)).into()
    }
}

/// A chat, as clients of model APIs send it.
#[derive(Clone, Serialize)]
pub struct Chat {
    /// All messages.
    pub messages: Messages,
    /// The index of the message that holds the prompt, or its first part.
    pub prompt: usize,
    /// The index of the part of that message with the prompt; the context is inserted before it.
    #[serde(skip)]
    pub part: usize,
    /// The index of the first message after the answer before the prompt.
    #[serde(skip)]
    pub turn: usize,
    /// True if the sleep phase may shorten the answer. False if the answer must have a given form,
    /// which a cut would break.
    pub shortenable: bool,
    /// Request fields that are passed to the provider.
    #[serde(serialize_with = "inner")]
    pub extra: Arc<Extra>,
}

impl Chat {
    /// A chat with its prompt.
    pub fn new(messages: Vec<Message>, prompt: &Prompt, shortenable: bool, extra: Extra) -> Self {
        let Place { message, part } = prompt.place;
        Self {
            messages: messages.into(),
            prompt: message,
            part,
            turn: prompt.turn,
            shortenable,
            extra: Arc::new(extra),
        }
    }

    /// The place of the prompt.
    pub(super) const fn place(&self) -> Place {
        Place { message: self.prompt, part: self.part }
    }

    /// True if the model has answered the prompt already and continues, such as with the result of a
    /// tool.
    pub(super) fn continues(&self) -> bool {
        let later = self.messages.iter().skip(self.prompt);
        later.into_iter().any(|message| message.role == Role::Assistant)
    }
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn inner<S: Serializer>(extra: &Arc<Extra>, serializer: S) -> Result<S::Ok, S::Error> {
    extra.as_ref().serialize(serializer)
}

/// The caller of a step, and the request that carries it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name of the authenticated principal.
    pub actor: String,
    /// The name of the end user for whom the actor calls, if it is another than the actor.
    pub end_user: Option<String>,
    /// The server's id of the request, a UUID version 7. The events of the step have it.
    pub id: String,
    /// The id that the caller gave the request. It is sealed with the prompt, because a caller may
    /// put personal data into it.
    pub client_request_id: Option<String>,
    /// The W3C trace id of the request.
    pub trace_id: Option<[u8; 16]>,
    /// The route template of the request.
    pub route: String,
    /// The value of the header `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// True if the caller may state the moral score of its prompt. Otherwise its score can only lower
    /// that of the engine's scorer.
    pub may_assert: bool,
    /// The credential that authenticated the caller.
    pub auth: Option<Auth>,
    /// The limit per budget window of the API key that authenticated the caller.
    pub key_limit: Option<Amount>,
    /// The memory of the request, which the step holds until it has ended.
    pub lease: Option<Arc<Lease>>,
}

impl Caller {
    /// The id that the caller sees: its own, or the server's if it gave none.
    pub fn request_id(&self) -> &str {
        self.client_request_id.as_ref().unwrap_or(&self.id)
    }

    /// The ids of the answer to a request that ran its step.
    pub(super) fn ids(&self) -> AnswerIds<'_> {
        AnswerIds { id: &self.id, request_id: self.request_id() }
    }

    /// The name of the data subject whose words the prompt is.
    pub(super) fn subject(&self) -> &str {
        self.end_user.as_ref().unwrap_or(&self.actor)
    }
}

/// A step in progress.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) engine: &'a Engine,
    pub(super) caller: &'a Caller,
    pub(super) request: &'a StepRequest,
    /// Latencies and the deadline are counted from here.
    pub(super) received_at: Instant,
}

impl<'a> Step<'a> {
    /// A step that is received now.
    pub(super) fn new(engine: &'a Engine, caller: &'a Caller, request: &'a StepRequest) -> Self {
        Self { engine, caller, request, received_at: Instant::now() }
    }

    /// Milliseconds since the request was received.
    pub(super) fn elapsed_ms(&self) -> f64 {
        milliseconds(self.received_at.elapsed())
    }

    /// The time at which the model must have begun to answer.
    pub(super) fn first_byte_by(&self) -> Instant {
        self.received_at + self.engine.settings.timeout
    }

    /// Fails a step that has no time left for a call, such as after a database that was slow.
    pub(super) fn require_time(&self) -> Result<(), Failure> {
        if self.deadline().has_time_after(Duration::ZERO) {
            return Ok(());
        }
        Err(Failure::new(FailStage::Llm, LlmError::NoTimeLeft.code()))
    }

    /// The time from which the step is abandoned if no ending is recorded.
    pub(super) fn abandoned_at(&self) -> Instant {
        let settings = &self.engine.settings;
        self.received_at + settings.total_timeout + settings.grace
    }

    /// The time limits of the model.
    pub(super) fn deadline(&self) -> Deadline {
        let total = self.received_at + self.engine.settings.total_timeout;
        let idle = self.engine.settings.timeout;
        let own = idle.min(self.engine.settings.total_timeout);
        Deadline { first: self.first_byte_by(), idle, total, own }
    }
}

/// Milliseconds with a resolution of a microsecond, as events record them.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_micros() as f64) / 1_000.0
}
