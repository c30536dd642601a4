//! Retrieval: embeds the prompt, searches the memory, and reads the contents it finds. Nothing of
//! that happens without a text or with the memory off.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::{
    admit::AdmittedStep,
    error::{Failure, StepError},
    progress::Progress,
    request::{Step, StepRequest, milliseconds},
    spans,
};
use crate::{
    domain::{
        confidence::is_blank,
        context::{self, Context, ContextMessage, PastExchange},
        event::{ContextHit, ContextUse, FailStage},
        ids::Position,
        lattice::{Query, SearchResult},
        policy::MemoryMode,
        vector::UnitVector,
    },
    embed::EmbedError,
    engine::{
        caches::{ContextKey, KeptContext},
        content::{self, StoredAnswer, StoredPrompt},
    },
    telemetry::traces,
};

/// Separates the HMACs of contexts from those of prompts, under one key.
pub(super) const CONTEXT_LABEL: &str = "context";

/// The vector of the prompt, and the context that the memory has for it.
pub(super) struct Retrieval {
    /// `None` if the step uses no memory.
    pub(super) vector: Option<UnitVector>,
    /// The message for the model; `None` if nothing was found.
    pub(super) message: Option<ContextMessage>,
}

/// Embeds the prompt and builds its context, from a view at or after the admission.
pub(super) async fn retrieve(
    step: Step<'_>,
    admitted: &AdmittedStep,
    progress: &mut Progress,
) -> Result<Retrieval, Failure> {
    if admitted.memory == MemoryMode::Off || is_blank(&step.request.prompt) {
        progress.context = Some(ContextUse::default());
        return Ok(Retrieval { vector: None, message: None });
    }
    let overhead = &step.engine.metrics.steps.overhead;
    let started = Instant::now();
    let vector = embed(step).await;
    let embed_ms = milliseconds(started.elapsed());
    progress.latency.embed_ms = embed_ms;
    let vector = vector?;
    overhead.embed.observe_ms(embed_ms);
    let span = spans::retrieve();
    let KeptContext { facts: context, message } = context(step, admitted, &vector)
        .instrument(span.clone())
        .await
        .inspect_err(|failure| traces::failed(&span, &failure.code))?;
    spans::record_retrieval(&span, &context);
    drop(span);
    let retrieve_ms = milliseconds(started.elapsed()) - embed_ms;
    progress.latency.retrieve_ms = retrieve_ms;
    progress.context = Some(context);
    overhead.retrieve.observe_ms(retrieve_ms);
    step.engine.metrics.steps.retrieval.observe_ms(retrieve_ms);
    Ok(Retrieval { vector: Some(vector), message })
}

/// The context of the prompt: in a tool loop the one of its first request.
async fn context(
    step: Step<'_>,
    admitted: &AdmittedStep,
    vector: &UnitVector,
) -> Result<KeptContext, Failure> {
    let Some(chat) = &step.request.chat else { return search(step, admitted, vector).await };
    let digest = Sha256::digest(&*step.request.prompt).into();
    let key: ContextKey = (admitted.subject.subject_ref, digest, chat.prompt);
    let contexts = &step.engine.caches.contexts;
    if chat.continues()
        && let Some(kept) = contexts.get(&key)
    {
        let view = step.engine.view();
        let exists = |position: &Position| view.state.lattice.get(*position).is_some();
        // an item may have been erased or forgotten meanwhile
        if kept.facts.used.iter().all(exists) {
            return Ok(KeptContext::clone(&kept));
        }
    }
    let found = search(step, admitted, vector).await?;
    contexts.put(key, found.clone());
    Ok(found)
}

async fn embed(step: Step<'_>) -> Result<UnitVector, Failure> {
    let embedder = &step.engine.parts.embedder;
    let span = spans::embed(embedder.id());
    let embedding = timeout_at(step.first_byte_by(), embedder.embed(step.request.embedded()));
    embedding.instrument(span.clone()).await.unwrap_or(Err(EmbedError::Timeout)).map_err(|error| {
        traces::failed(&span, error.code());
        let failure = Failure::new(FailStage::Embedding, error.code());
        Failure { retry_after: error.retry_after(), ..failure }
    })
}

async fn search(
    step: Step<'_>,
    admitted: &AdmittedStep,
    vector: &UnitVector,
) -> Result<KeptContext, Failure> {
    let view = step.engine.view();
    let phase = view.state.phase_value(admitted.event.phase);
    let policy = &view.state.policy;
    let query = Query {
        vector,
        phase,
        phase_tolerance: policy.lattice.phase_tolerance,
        min_similarity: policy.lattice.min_similarity,
        k: admitted.event.request.top_k,
        subject: view.state.visible_to(admitted.subject.subject_ref),
    };
    let found = view
        .state
        .lattice
        .search(&query)
        .map_err(|_| Failure::new(FailStage::Embedding, "dimension"))?;
    let Context { message, outcomes } = build(step, &found, policy.context.max_chars)
        .await
        .map_err(|_| Failure::new(FailStage::Llm, "context_unavailable"))?;
    let hits = found.hits.iter().zip(outcomes).map(|(hit, outcome)| ContextHit {
        position: hit.position,
        score: hit.score,
        outcome,
    });
    let hmac = |built: &ContextMessage| {
        hex::encode(admitted.subject.key.hmac(CONTEXT_LABEL, built.text.as_bytes()))
    };
    let facts = ContextUse {
        view: view.state.position,
        phase,
        candidates: found.candidates,
        used: message.as_ref().map(|built| built.used.clone()).unwrap_or_default(),
        chars: message.as_ref().map_or(0, |built| built.chars),
        hits: hits.collect(),
        digest: message.as_ref().map(hmac),
    };
    Ok(KeptContext { facts, message })
}

/// Builds the context message. Memories whose content was erased meanwhile have no texts.
async fn build(
    step: Step<'_>,
    found: &SearchResult,
    max_chars: usize,
) -> Result<Context, StepError> {
    if found.hits.is_empty() {
        return Ok(Context::default());
    }
    let positions: Vec<Position> =
        found.hits.iter().flat_map(|hit| [hit.prompt_position, hit.position]).collect();
    let _place = step.engine.caches.readers.enter().await;
    let (mut prompts, mut answers) = (HashMap::new(), HashMap::new());
    let take = |position, plain: Vec<u8>| {
        // an item that was copied from another engine has both in one content
        if found.hits.iter().any(|hit| hit.prompt_position == position) {
            let StoredPrompt { prompt } = content::parse(&plain)?;
            prompts.insert(position, prompt);
        }
        if found.hits.iter().any(|hit| hit.position == position) {
            let StoredAnswer { answer, .. } = content::parse(&plain)?;
            answers.insert(position, answer);
        }
        Ok::<_, StepError>(())
    };
    content::open_each(step.engine, &positions, take).await?;
    let mut exchanges = Vec::with_capacity(found.hits.len());
    for hit in &found.hits {
        let both = prompts.remove(&hit.prompt_position).zip(answers.remove(&hit.position));
        let (prompt, answer) = both.unwrap_or_default();
        exchanges.push((hit.position, prompt, answer));
    }
    let remembered: Vec<PastExchange<'_>> = exchanges
        .iter()
        .map(|(position, prompt, answer)| PastExchange { position: *position, prompt, answer })
        .collect();
    Ok(context::build(&remembered, &texts(step.request), max_chars))
}

/// The texts that the model receives anyway.
fn texts(request: &StepRequest) -> Vec<&str> {
    match &request.chat {
        None => vec![&request.prompt],
        Some(chat) => chat.messages.iter().map(|message| message.text.as_str()).collect(),
    }
}
