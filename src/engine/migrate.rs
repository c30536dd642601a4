//! `engine migrate`: copies the memory of an engine into another engine, with new vectors.
//!
//! The embedder and the dimension of an engine cannot change, so a migration is the way to another
//! embedder. It reads the items in the order in which they were stored, embeds them with this
//! server's embedder, and adds them to the copy under the copy's own pseudonyms and keys. The log of
//! the copy records the progress, so that an interrupted migration can be resumed. The source is only
//! read.
//!
//! Deliberately not here: everything but the memory. Counters, averages and budgets are not copied.

mod source;
mod vectors;

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

use super::{
    Engine, EngineError, Engines,
    content::{StoredAnswer, seal},
};
use crate::{
    domain::{
        command::{Add, ChangePolicy, Command},
        event,
        ids::{EngineId, Position, Sha256},
        lattice::Item,
        policy::{EmbedderId, Policy},
        vector::UnitVector,
    },
    embed::{EmbedError, Embedder},
    store::{
        seal::SealError,
        subject::{Subject, SubjectError},
        writer::{Actor, Outcome, Proposal, WriteError},
    },
};
use source::{Exchange, Source};

/// Maximum number of items that are read, embedded and added together. The writer's queue may limit
/// it further.
const ITEMS_MAX: usize = 64;

/// The result of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationReport {
    /// Number of items added.
    pub copied: u64,
    /// Number of items left out because their content or its key was erased.
    pub skipped: u64,
    /// Number of items left out because the embedder rejects their text (too long, or the vector is
    /// zero).
    pub refused: u64,
    /// Number of items that an earlier run has processed.
    pub already: u64,
    /// The last position of the copy's log.
    pub position: Position,
    /// The chain hash there.
    pub chain_hash: Sha256,
}

/// Why a migration failed. Items that were added remain in the copy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MigrateError {
    /// Source and copy have the same name.
    #[error("an engine cannot be copied into itself: choose another name for the copy")]
    Itself,
    /// The target exists and is not a copy of the source.
    #[error(
        "engine {to} has steps of its own, or is a copy of another engine: choose the name of an \
         engine that does not exist yet; the migration creates it"
    )]
    NotACopy {
        /// The name of the target.
        to: EngineId,
    },
    /// The embedder failed.
    #[error("{0}; start the migration again to resume it")]
    Embed(#[from] EmbedError),
    /// The source or the copy failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<WriteError> for MigrateError {
    fn from(error: WriteError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<SubjectError> for MigrateError {
    fn from(error: SubjectError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<SealError> for MigrateError {
    fn from(error: SealError) -> Self {
        Self::Engine(error.into())
    }
}

/// Copies the memory of `from` into `to`, which is created if it does not exist. Calls `progress` with
/// the position reached in the log of the source, first while it is folded and then while its items
/// are copied.
///
/// # Errors
/// See [`MigrateError`]. The migration can be started again.
pub async fn migrate(
    engines: &Engines,
    from: &EngineId,
    to: &EngineId,
    actor: &str,
    progress: &mut (dyn FnMut(Position) + Send),
) -> Result<MigrationReport, MigrateError> {
    if from == to {
        return Err(MigrateError::Itself);
    }
    let source = Source::open(engines.parts(), from, progress).await?;
    // fail before the copy is created if the embedder does not work
    engines.parts().embedder.probe().await?;
    let copy = copy(engines, &source, to, actor).await?;
    let after = copy.view().state.copied.as_ref().map_or(0, |copied| copied.position);
    let mut migration = Migration { source: &source, copy: &copy, actor, after, counts: [0; 3] };
    let items = source.state.lattice.items();
    let already = items.take_while(|item| item.position <= after).count() as u64;
    let mut rest = source.state.lattice.items().skip(already as usize);
    let at_once = engines.settings().limits.queue.clamp(1, ITEMS_MAX);
    loop {
        let page: Vec<&Item> = rest.by_ref().take(at_once).collect();
        let Some(last) = page.last() else { break };
        migration.page(&page).await?;
        progress(last.position);
    }
    let [copied, skipped, refused] = migration.counts;
    let view = copy.view();
    let (position, chain_hash) = (view.state.position, view.chain_hash);
    Ok(MigrationReport { copied, skipped, refused, already, position, chain_hash })
}

/// The target engine: a new one, or the one that an earlier run created.
async fn copy(
    engines: &Engines,
    source: &Source,
    to: &EngineId,
    actor: &str,
) -> Result<Arc<Engine>, MigrateError> {
    let parts = engines.parts();
    if parts.store.engine(to).await.map_err(EngineError::from)?.is_none() {
        let policy = with_embedder(&source.state.policy, &parts.embedder);
        engines.create(to, policy.clone(), None, actor).await?;
        if let Some(config) = &source.state.config {
            // the copy follows later configuration changes as its source does
            let change = ChangePolicy {
                policy,
                actor: actor.to_owned(),
                reason: format!("a copy of engine {}", source.engine),
                config: Some(with_embedder(config, &parts.embedder)),
                evidence: None,
            };
            engines.get(to).await?.change_policy(change).await?;
        }
    }
    let copy = engines.get(to).await?;
    let state = &copy.view().state;
    let same = state.copied.as_ref().is_none_or(|copied| copied.engine == source.engine);
    if state.step > 0 || !same {
        return Err(MigrateError::NotACopy { to: to.clone() });
    }
    Ok(copy)
}

fn with_embedder(policy: &Policy, embedder: &Embedder) -> Policy {
    Policy {
        embedder: EmbedderId { id: embedder.id().to_owned(), version: embedder.version() },
        dimension: embedder.dimension(),
        ..policy.clone()
    }
}

/// A migration in progress.
struct Migration<'a> {
    source: &'a Source,
    copy: &'a Engine,
    actor: &'a str,
    /// The position in the source of the last item handed to the writer; 0 before the first.
    after: Position,
    /// The numbers of items copied, skipped and refused.
    counts: [u64; 3],
}

/// The content of `memory.added`: the prompt and the answer of a step.
#[derive(Serialize)]
struct SealedExchange<'a> {
    prompt: &'a str,
    #[serde(flatten)]
    answer: &'a StoredAnswer,
}

impl Migration<'_> {
    async fn page(&mut self, items: &[&Item]) -> Result<(), MigrateError> {
        let exchanges = self.source.exchanges(items).await?;
        self.counts[1] += (items.len() - exchanges.len()) as u64;
        let prompts: Vec<&str> = exchanges.iter().map(|e| e.prompt.as_str()).collect();
        let vectors = vectors::vectors(self.copy.embedder(), &prompts).await?;
        let subjects = self.subjects(&exchanges).await?;
        let mut waiting = Vec::with_capacity(exchanges.len());
        for (exchange, vector) in exchanges.iter().zip(vectors) {
            match (vector, subjects.get(exchange.name.as_str())) {
                (Some(vector), Some(subject)) => {
                    let proposal = self.proposal(exchange, vector, subject)?;
                    waiting.push((self.copy.writer.submit(proposal)?, subject));
                    self.after = exchange.item.position;
                }
                _ => self.counts[2] += 1,
            }
        }
        for (answer, subject) in waiting {
            match answer.await.unwrap_or(Err(WriteError::Closed)) {
                Ok(Outcome::Committed(_) | Outcome::Duplicate(_)) => self.counts[0] += 1,
                Err(error) => {
                    if matches!(error, WriteError::SubjectErased) {
                        // the name belongs to a new subject from now on
                        self.copy.subjects.forget(subject.subject_ref);
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// The data subjects of a page by name, with their pseudonyms in the copy.
    async fn subjects<'e>(
        &self,
        exchanges: &'e [Exchange<'_>],
    ) -> Result<HashMap<&'e str, Arc<Subject>>, MigrateError> {
        let mut subjects = HashMap::new();
        for exchange in exchanges {
            let name = exchange.name.as_str();
            if !subjects.contains_key(name) {
                subjects.insert(name, self.copy.subjects.by_name_or_new(name).await?);
            }
        }
        Ok(subjects)
    }

    fn proposal(
        &self,
        exchange: &Exchange<'_>,
        vector: UnitVector,
        subject: &Arc<Subject>,
    ) -> Result<Proposal, MigrateError> {
        let Exchange { item, prompt, answer, .. } = exchange;
        let command_id = crate::ids::command_id();
        let sealed = SealedExchange { prompt, answer };
        let content = seal(subject, command_id, &sealed, Some(&vector.to_bytes()))?;
        let source =
            event::ItemOrigin { engine: self.source.engine.clone(), position: item.position };
        let add = Add {
            subject: subject.subject_ref,
            source: Some(source),
            after: self.after,
            actor: self.actor.to_owned(),
            phase: item.phase,
            confidence: item.confidence,
            consolidated: item.consolidated,
            vector: Some(vector),
        };
        let actor = Actor::Clear(self.actor.to_owned());
        let mut proposal = Proposal::of_engine(command_id, Command::Add(Box::new(add)), actor);
        proposal.subject = Some(Arc::clone(subject));
        proposal.content = Some(content);
        Ok(proposal)
    }
}
