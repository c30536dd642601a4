//! Retrieval: embeds the prompt, searches the memory, and reads the contents it finds.

use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::{
    admit::AdmittedStep,
    error::{Failure, StepError},
    request::{Step, StepRequest, milliseconds},
    spans,
};
use crate::{
    domain::{
        context::{self, ContextMessage, PastExchange},
        event::{ContextUse, FailStage},
        ids::Position,
        lattice::{Query, SearchResult},
        vector::UnitVector,
    },
    embed::EmbedError,
    engine::content::{self, StoredAnswer, StoredPrompt},
    telemetry::traces,
};

/// The vector of the prompt, and the context that the memory has for it.
pub(super) struct Retrieval {
    pub(super) vector: UnitVector,
    /// The part that is recorded.
    pub(super) context: ContextUse,
    /// The message for the model; `None` if nothing was found.
    pub(super) message: Option<ContextMessage>,
    pub(super) embed_ms: f64,
    pub(super) retrieve_ms: f64,
}

/// Embeds the prompt and builds its context, from a view at or after the admission.
pub(super) async fn retrieve(
    step: Step<'_>,
    admitted: &AdmittedStep,
) -> Result<Retrieval, Failure> {
    let overhead = &step.engine.metrics.steps.overhead;
    let started = Instant::now();
    let vector = embed(step).await?;
    let embed_ms = milliseconds(started.elapsed());
    overhead.embed.observe_ms(embed_ms);
    let span = spans::retrieve();
    let (context, message) = search(step, admitted, &vector)
        .instrument(span.clone())
        .await
        .inspect_err(|failure| traces::failed(&span, &failure.code))?;
    spans::record_retrieval(&span, &context);
    drop(span);
    let retrieve_ms = milliseconds(started.elapsed()) - embed_ms;
    overhead.retrieve.observe_ms(retrieve_ms);
    step.engine.metrics.steps.retrieval.observe_ms(retrieve_ms);
    Ok(Retrieval { vector, context, message, embed_ms, retrieve_ms })
}

async fn embed(step: Step<'_>) -> Result<UnitVector, Failure> {
    let embedder = &step.engine.parts.embedder;
    let span = spans::embed(embedder.id());
    let embedding = timeout_at(step.deadline(), embedder.embed(&step.request.prompt));
    embedding.instrument(span.clone()).await.unwrap_or(Err(EmbedError::Timeout)).map_err(|error| {
        traces::failed(&span, error.code());
        Failure::new(FailStage::Embedding, error.code())
    })
}

async fn search(
    step: Step<'_>,
    admitted: &AdmittedStep,
    vector: &UnitVector,
) -> Result<(ContextUse, Option<ContextMessage>), Failure> {
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
    let message = message(step, &found, policy.context.max_chars)
        .await
        .map_err(|_| Failure::new(FailStage::Llm, "context_unavailable"))?;
    let (used, chars) =
        message.as_ref().map_or((Vec::new(), 0), |built| (built.used.clone(), built.chars));
    let context = ContextUse {
        view: view.state.position,
        phase,
        candidates: found.candidates,
        used,
        chars,
        ..ContextUse::default()
    };
    Ok((context, message))
}

/// Builds the context message. Memories whose content was erased meanwhile are left out.
async fn message(
    step: Step<'_>,
    found: &SearchResult,
    max_chars: usize,
) -> Result<Option<ContextMessage>, StepError> {
    if found.hits.is_empty() {
        return Ok(None);
    }
    let positions: Vec<Position> =
        found.hits.iter().flat_map(|hit| [hit.prompt_position, hit.position]).collect();
    let contents = content::open(step.engine, &positions).await?;
    let mut exchanges = Vec::with_capacity(found.hits.len());
    for hit in &found.hits {
        let prompt = contents.get(&hit.prompt_position);
        let answer = contents.get(&hit.position);
        if let (Some(prompt), Some(answer)) = (prompt, answer) {
            let StoredPrompt { prompt } = content::parse(prompt)?;
            let StoredAnswer { answer, .. } = content::parse(answer)?;
            exchanges.push((hit.position, prompt, answer));
        }
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
