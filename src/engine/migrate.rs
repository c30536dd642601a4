//! `engine migrate`: copies what an engine remembers into another one, with new vectors.
//!
//! An engine's embedder and dimension are fixed for its life, so this is the way to others. The items
//! are read in the order in which they were stored, embedded by this server's embedder, and added
//! to the copy under its own pseudonyms and keys. The copy's log says how far it has come: a run that
//! ended early, however it ended, is started again and goes on from there. The source is only read.
//!
//! Deliberately not here: everything but the memory. Counters, averages and budgets of the source
//! stay with its log, and the copy begins with its own.

mod source;
mod vectors;

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

use super::{
    Engine, EngineError, Engines,
    generate::{AnswerText, seal},
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
        subject::Subject,
        writer::{Actor, Outcome, Proposal, WriteError},
    },
};
use source::{Exchange, Source};

/// Items that are read, embedded and added at once; fewer where fewer may wait for the writer.
const ITEMS_MAX: usize = 64;

/// What came of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationReport {
    /// Items added.
    pub copied: u64,
    /// Items left out because their text or its key is erased.
    pub skipped: u64,
    /// Items left out because the embedder does not take their text (too long, or without a direction).
    pub refused: u64,
    /// Items that an earlier run has dealt with.
    pub already: u64,
    /// Where the copy's log ends.
    pub position: Position,
    /// The chain hash there.
    pub chain_hash: Sha256,
}

/// Why an engine could not be copied, or not to its end. What is copied stays.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MigrateError {
    /// Both names are the same.
    #[error("an engine cannot be copied into itself; name a new one for the copy")]
    Itself,
    /// The target is somebody's engine.
    #[error(
        "engine {to} has steps of its own, or is a copy of another engine; name one that does not \
         exist yet: it is made"
    )]
    NotACopy {
        /// The target.
        to: EngineId,
    },
    /// No vectors.
    #[error("{0}; what is copied stays: start the migration again, and it goes on from there")]
    Embed(#[from] EmbedError),
    /// One of the two engines.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<WriteError> for MigrateError {
    fn from(error: WriteError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<SealError> for MigrateError {
    fn from(error: SealError) -> Self {
        Self::Engine(error.into())
    }
}

/// Copies what `from` remembers into `to`, which is made if it is not there. `progress` is told the
/// positions of the source's log that were reached, once while it is folded and once while it is
/// copied.
///
/// # Errors
/// See [`MigrateError`]; then it can be started again.
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
    // before an engine is made for an embedder that does not work
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

/// The engine to copy to: one that is made now, or that an earlier run began.
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
            // it goes on following the configuration as its source does
            let change = ChangePolicy {
                policy,
                actor: actor.to_owned(),
                reason: format!("a copy of engine {}", source.engine),
                config: Some(with_embedder(config, &parts.embedder)),
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

/// A migration under way.
struct Migration<'a> {
    source: &'a Source,
    copy: &'a Engine,
    actor: &'a str,
    /// The source's position of the last item handed over; 0 for none.
    after: Position,
    /// Copied, skipped, refused.
    counts: [u64; 3],
}

/// The sealed text of `memory.added`: what the two events of a step hold.
#[derive(Serialize)]
struct Text<'a> {
    prompt: &'a str,
    #[serde(flatten)]
    answer: &'a AnswerText,
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
                        // the name is a stranger's from now on
                        self.copy.directory.forget(subject.subject_ref);
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Everybody whose words are on a page, by name, as the copy knows them.
    async fn subjects<'e>(
        &self,
        exchanges: &'e [Exchange<'_>],
    ) -> Result<HashMap<&'e str, Arc<Subject>>, MigrateError> {
        let mut subjects = HashMap::new();
        for exchange in exchanges {
            let name = exchange.name.as_str();
            if !subjects.contains_key(name) {
                subjects.insert(name, self.copy.subject(name).await?);
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
        let text = Text { prompt, answer };
        let content = seal(subject, command_id, &text, Some(&vector.to_bytes()))?;
        let source =
            event::ItemOrigin { engine: self.source.engine.clone(), position: item.position };
        let add = Add {
            subject: subject.subject_ref,
            source,
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
