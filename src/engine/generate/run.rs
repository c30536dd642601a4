//! Between the two events of a step: embed, search, read what is remembered, ask the model, record.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Admitted, Answer, AnswerText, Caller, PromptText, Recorded, StepError, StepRequest, defect,
    expect, milliseconds, seal,
};
use crate::{
    domain::{
        command::{Command, Complete, Fail, Refusal},
        confidence::{confidence, is_blank, is_looping},
        context::{self, Built, Memory},
        event::{ContextUse, Event, FailStage, Latency, Usage},
        ids::{CommandId, Position, SubjectRef},
        lattice::{Query, SearchResult},
        vector::UnitVector,
    },
    embed::EmbedError,
    engine::{Engine, spans},
    llm::{Completion, Extra, LlmError, Message, Request, Role, Sink},
    store::{
        keys::Column,
        subject::Subject,
        writer::{Committed, Outcome, Proposal, WriteError},
    },
    telemetry::traces,
};

/// A step that ends without an answer.
struct Failure {
    stage: FailStage,
    code: String,
    attempts: u32,
    usage: Usage,
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(stage: FailStage, code: &str) -> Self {
        Self {
            stage,
            code: code.to_owned(),
            attempts: 0,
            usage: Usage::default(),
            retry_after: None,
        }
    }
}

/// How the model came to say what it said.
struct Said {
    provider: &'static str,
    attempts: u32,
    ended: Completion,
    vector: UnitVector,
    context: ContextUse,
    latency: Latency,
}

/// The prompt as a vector, with what was found near it.
struct Recalled {
    vector: UnitVector,
    context: ContextUse,
    built: Option<Built>,
    embed_ms: f64,
    retrieve_ms: f64,
}

impl Engine {
    /// Asks the model and records the ending.
    pub(super) async fn run(
        &self,
        caller: &Caller,
        request: &StepRequest,
        step: Admitted,
        mut sink: Sink,
        cancelled: &CancellationToken,
    ) -> Result<Answer, StepError> {
        let mut said = tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(Failure::new(FailStage::Cancelled, "client_gone")),
            said = self.ask(request, &step, &mut sink) => said,
        };
        let (answer, tool_calls) = sink.into_parts();
        let text = AnswerText { answer, tool_calls };
        if let Err(failure) = &mut said
            && failure.usage == Usage::default()
        {
            failure.usage = expect::used(request, &text);
        }
        match said {
            Ok(said) => self.complete(caller, step, said, text).await,
            Err(failure) => Err(self.fail(caller, step, failure, &text).await),
        }
    }

    async fn ask(
        &self,
        request: &StepRequest,
        step: &Admitted,
        sink: &mut Sink,
    ) -> Result<Said, Failure> {
        let recalled = self.recall(request, step).await?;
        let asked = Instant::now();
        let wanted = Request {
            model: request.model.clone(),
            messages: messages(request, recalled.built.as_ref()),
            max_tokens: step.event.request.max_tokens,
            temperature: request.temperature,
            extra: request.chat.as_ref().map_or_else(Extra::default, |chat| chat.extra.clone()),
        };
        let called = self.parts.llm.call(&wanted, sink, step.deadline).await;
        let model_ms = milliseconds(asked.elapsed());
        let first = sink.first_delta_at().map(|first| milliseconds(first.duration_since(asked)));
        let first_piece_ms = first.filter(|_| sink.is_streaming());
        self.count_call(&called, model_ms, first_piece_ms);
        let (provider, attempts) = (called.provider, called.attempts);
        let ended = called.result.map_err(|error| {
            let gone = error == LlmError::CallerGone;
            let stage = if gone { FailStage::Cancelled } else { FailStage::Llm };
            let retry_after = error.retry_after();
            Failure { attempts, retry_after, ..Failure::new(stage, error.code()) }
        })?;
        if is_blank(sink.text()) && sink.tool_calls().is_empty() {
            let usage = ended.usage;
            let failure = Failure::new(FailStage::EmptyResponse, "empty_response");
            return Err(Failure { attempts, usage, ..failure });
        }
        let Recalled { vector, context, embed_ms, retrieve_ms, .. } = recalled;
        let total_ms = milliseconds(step.started.elapsed());
        let latency = Latency { embed_ms, retrieve_ms, model_ms, total_ms, first_piece_ms };
        Ok(Said { provider, attempts, ended, vector, context, latency })
    }

    /// Embeds the prompt and searches the memory, on a view at or after the admission.
    async fn recall(&self, request: &StepRequest, step: &Admitted) -> Result<Recalled, Failure> {
        let started = Instant::now();
        let span = spans::embed(self.parts.embedder.id());
        let embedding = self.parts.embedder.embed(&request.prompt);
        let embedded = timeout_at(step.deadline, embedding).instrument(span.clone()).await;
        let vector = embedded.unwrap_or(Err(EmbedError::Timeout)).map_err(|error| {
            traces::failed(&span, error.code());
            Failure::new(FailStage::Embedding, error.code())
        })?;
        drop(span);
        let embed_ms = milliseconds(started.elapsed());
        self.metrics.steps.overhead.embed.observe_ms(embed_ms);
        let span = spans::retrieve();
        let (context, built) = self
            .retrieve(request, step, &vector)
            .instrument(span.clone())
            .await
            .inspect_err(|failure| traces::failed(&span, &failure.code))?;
        spans::retrieved(&span, &context);
        drop(span);
        let retrieve_ms = milliseconds(started.elapsed()) - embed_ms;
        self.metrics.steps.overhead.retrieve.observe_ms(retrieve_ms);
        self.metrics.steps.retrieval.observe_ms(retrieve_ms);
        Ok(Recalled { vector, context, built, embed_ms, retrieve_ms })
    }

    /// Searches the memory, and reads what was found.
    async fn retrieve(
        &self,
        request: &StepRequest,
        step: &Admitted,
        vector: &UnitVector,
    ) -> Result<(ContextUse, Option<Built>), Failure> {
        let view = self.view();
        let phase = view.state.phase_value(step.event.phase);
        let policy = &view.state.policy;
        let query = Query {
            vector,
            phase,
            phase_tolerance: policy.lattice.phase_tolerance,
            min_similarity: policy.lattice.min_similarity,
            k: step.event.request.top_k,
            subject: view.state.visible_to(step.subject.subject_ref),
        };
        let found = view
            .state
            .lattice
            .search(&query)
            .map_err(|_| Failure::new(FailStage::Embedding, "dimension"))?;
        let built = self
            .remembered(&found, request, policy.context.max_chars)
            .await
            .map_err(|_| Failure::new(FailStage::Llm, "context_unavailable"))?;
        let (used, chars) =
            built.as_ref().map_or((Vec::new(), 0), |built| (built.used.clone(), built.chars));
        let context = ContextUse {
            view: view.state.position,
            phase,
            candidates: found.candidates,
            used,
            chars,
        };
        Ok((context, built))
    }

    /// The remembered text of what was found. Text erased meanwhile is passed over.
    async fn remembered(
        &self,
        found: &SearchResult,
        request: &StepRequest,
        max_chars: usize,
    ) -> Result<Option<Built>, StepError> {
        if found.hits.is_empty() {
            return Ok(None);
        }
        let wanted: Vec<Position> =
            found.hits.iter().flat_map(|hit| [hit.prompt_position, hit.position]).collect();
        let texts = self.texts(&wanted).await?;
        let mut exchanges = Vec::with_capacity(found.hits.len());
        for hit in &found.hits {
            let prompt = texts.get(&hit.prompt_position).map(|t| parse::<PromptText>(t));
            let answer = texts.get(&hit.position).map(|t| parse::<AnswerText>(t));
            if let (Some(prompt), Some(answer)) = (prompt, answer) {
                exchanges.push((hit.position, prompt?.prompt, answer?.answer));
            }
        }
        let remembered: Vec<Memory<'_>> = exchanges
            .iter()
            .map(|(position, prompt, answer)| Memory { position: *position, prompt, answer })
            .collect();
        let said: Vec<&str> = match &request.chat {
            None => vec![&request.prompt],
            Some(chat) => chat.messages.iter().map(|message| message.text.as_str()).collect(),
        };
        Ok(context::build(&remembered, &said, max_chars))
    }

    /// Opens the texts at positions; those without a content or a key are left out.
    pub(super) async fn texts(
        &self,
        positions: &[Position],
    ) -> Result<HashMap<Position, Vec<u8>>, StepError> {
        let (mut sealed, missing) = self.writer.content_cache().get(positions);
        if !missing.is_empty() {
            let read = self.parts.store.sealed_contents(&self.id, &missing).await?;
            let read: Vec<_> = read.into_iter().map(Arc::new).collect();
            self.writer.content_cache().insert(read.iter().cloned());
            sealed.extend(read);
        }
        let mut texts = HashMap::with_capacity(sealed.len());
        for text in sealed {
            let Some(subject) = self.subject_of(text.subject_ref).await? else { continue };
            let plain = subject.key.open(text.command_id, Column::Text, &text.sealed)?;
            texts.insert(text.position, plain);
        }
        Ok(texts)
    }

    /// A data subject by pseudonym; an erased one has no key any more.
    async fn subject_of(&self, subject: SubjectRef) -> Result<Option<Arc<Subject>>, StepError> {
        if let Some(known) = self.directory.get_ref(subject) {
            return Ok(Some(known));
        }
        let rows = self.parts.store.subjects_by_ref(&self.id, &[subject]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let subject = Arc::new(self.directory.open(row)?);
        self.directory.keep(&subject);
        Ok(Some(subject))
    }

    async fn complete(
        &self,
        caller: &Caller,
        step: Admitted,
        said: Said,
        text: AnswerText,
    ) -> Result<Answer, StepError> {
        let Said { provider, attempts, ended, vector, context, latency } = said;
        let command_id = crate::ids::command_id();
        let content = seal(&step.subject, command_id, &text, Some(&vector.to_bytes()))?;
        let complete = Complete {
            step: step.step,
            provider: provider.to_owned(),
            model: ended.model,
            usage: ended.usage,
            finish_reason: ended.finish_reason,
            latency,
            attempts,
            context,
            confidence: confidence(&text.answer),
            looping: is_looping(&text.answer),
            cut: ended.cut,
            vector: Some(vector),
        };
        let command = Command::Complete(Box::new(complete));
        let mut proposal = ending(caller, &step, command_id, command);
        proposal.content = Some(content);
        let committed = self.ended(proposal).await?;
        self.count_step(&step, Some(latency.model_ms));
        let chain_hash = committed.chain_hash;
        match committed.events.into_iter().next() {
            Some((envelope, Event::StepCompleted(completed))) => Ok(Answer::completed(
                &caller.request_id,
                &step.event,
                &Recorded { envelope: &envelope, chain_hash },
                &completed,
                text,
            )),
            _ => Err(defect("a completion that completes nothing")),
        }
    }

    /// Records a failure and gives the caller's error: the failure, unless the log has another
    /// ending or could not be reached.
    async fn fail(
        &self,
        caller: &Caller,
        step: Admitted,
        failure: Failure,
        said: &AnswerText,
    ) -> StepError {
        let command = Command::Fail(Fail {
            step: step.step,
            stage: failure.stage,
            code: failure.code.clone(),
            latency_ms: milliseconds(step.started.elapsed()),
            attempts: failure.attempts,
            usage: failure.usage,
        });
        let command_id = crate::ids::command_id();
        let mut proposal = ending(caller, &step, command_id, command);
        if !said.answer.is_empty() || !said.tool_calls.is_empty() {
            match seal(&step.subject, command_id, said, None) {
                Ok(partial) => proposal.content = Some(partial),
                Err(error) => return error.into(),
            }
        }
        match self.ended(proposal).await {
            Ok(_) => {
                self.count_step(&step, None);
                StepError::Failed {
                    step: step.step,
                    stage: failure.stage,
                    code: failure.code,
                    retry_after: failure.retry_after,
                }
            }
            Err(error) => error,
        }
    }

    async fn ended(&self, proposal: Proposal) -> Result<Committed, StepError> {
        match self.propose(proposal).await {
            Ok(Outcome::Committed(committed)) => Ok(committed),
            Ok(Outcome::Duplicate(_)) => Err(defect("an ending met a duplicate")),
            Err(WriteError::Refused(Refusal::NotOpen { step })) => Err(StepError::TooLate { step }),
            Err(error) => Err(error.into()),
        }
    }
}

fn ending(caller: &Caller, step: &Admitted, command_id: CommandId, command: Command) -> Proposal {
    Proposal {
        command_id,
        command,
        subject: Some(Arc::clone(&step.subject)),
        actor: step.actor.clone(),
        request_id: Some(caller.request_id.clone()),
        trace_id: caller.trace_id,
        content: None,
        prompt_digest: None,
        claim: None,
        ends_claim: caller.idempotency_key.is_some(),
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, StepError> {
    serde_json::from_slice(text).map_err(|_| defect("a sealed text of another shape"))
}

/// What the model is asked: the chat, with what is remembered right before the prompt.
fn messages(request: &StepRequest, remembered: Option<&Built>) -> Vec<Message> {
    let (mut messages, prompt) = match &request.chat {
        None => (vec![Message::text(Role::User, &*request.prompt)], 0),
        Some(chat) => (chat.messages.clone(), chat.prompt.min(chat.messages.len())),
    };
    if let Some(built) = remembered {
        messages.insert(prompt, Message::text(Role::User, &*built.text));
    }
    messages
}
