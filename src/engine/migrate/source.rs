//! The source of a migration: an engine that is folded once, and whose contents are opened page by
//! page.

use std::{collections::HashMap, sync::Arc};

use serde::de::DeserializeOwned;

use crate::{
    domain::{
        ids::{EngineId, Position, SubjectRef},
        lattice::Item,
        state::State,
    },
    engine::{
        EngineError, Parts,
        content::{StoredAnswer, StoredPrompt},
    },
    store::{
        SealedContent, Store, StoreError,
        keys::{Column, ContentKey, SubjectKey},
        replay,
        state_fold::{self, ReplayError},
    },
};

/// A snapshot of an engine. It has no writer and needs no embedder.
pub(super) struct Source {
    store: Store,
    content_key: Arc<ContentKey>,
    pub(super) engine: EngineId,
    pub(super) state: State,
}

/// An item with its contents and the name of its data subject.
pub(super) struct Exchange<'a> {
    pub(super) item: &'a Item,
    pub(super) name: String,
    pub(super) prompt: String,
    pub(super) answer: StoredAnswer,
}

impl Source {
    pub(super) async fn open(
        parts: &Parts,
        engine: &EngineId,
        progress: &mut (dyn FnMut(Position) + Send),
    ) -> Result<Self, EngineError> {
        let (store, content_key) = (parts.store.clone(), Arc::clone(&parts.content_key));
        let row = store.engine(engine).await?;
        let row = row.ok_or_else(|| StoreError::EngineMissing(engine.clone()))?;
        let (_, written) = content_key.unwrap_index_key(&row)?;
        state_fold::check_format(engine, written).map_err(ReplayError::from)?;
        let fold = replay::replay(&store, &content_key, engine, Position::MAX, progress).await?;
        fold.check_log_format(written).map_err(ReplayError::from)?;
        let state = fold.state.ok_or_else(|| EngineError::Empty(engine.clone()))?;
        Ok(Self { store, content_key, engine: engine.clone(), state })
    }

    /// Reads the contents of items, except those whose content or key was erased.
    pub(super) async fn exchanges<'a>(
        &self,
        items: &[&'a Item],
    ) -> Result<Vec<Exchange<'a>>, EngineError> {
        let subjects = self.subjects(items).await?;
        let contents = self.contents(items).await?;
        let mut exchanges = Vec::with_capacity(items.len());
        for &item in items {
            let found = (contents.get(&item.prompt_position), contents.get(&item.position));
            let (Some((name, key)), (Some(prompt), Some(answer))) =
                (subjects.get(&item.subject), found)
            else {
                continue;
            };
            let StoredPrompt { prompt } = open(key, prompt)?;
            let answer = open(key, answer)?;
            exchanges.push(Exchange { item, name: name.clone(), prompt, answer });
        }
        Ok(exchanges)
    }

    /// The names and keys of the items' data subjects.
    async fn subjects(
        &self,
        items: &[&Item],
    ) -> Result<HashMap<SubjectRef, (String, SubjectKey)>, EngineError> {
        let mut refs: Vec<SubjectRef> = items.iter().map(|item| item.subject).collect();
        refs.sort_unstable();
        refs.dedup();
        let mut subjects = HashMap::with_capacity(refs.len());
        for row in self.store.subjects_by_ref(&self.engine, &refs).await? {
            let (subject, wrapped) = (row.subject_ref, &row.wrapped_key);
            let key = self.content_key.unwrap_subject_key(&self.engine, subject, wrapped)?;
            subjects.insert(subject, (key.open_name(&row.sealed_name)?, key));
        }
        Ok(subjects)
    }

    async fn contents(
        &self,
        items: &[&Item],
    ) -> Result<HashMap<Position, SealedContent>, EngineError> {
        let both = |item: &&Item| [item.prompt_position, item.position];
        let mut positions: Vec<Position> = items.iter().flat_map(both).collect();
        positions.sort_unstable();
        positions.dedup();
        let sealed = self.store.sealed_contents(&self.engine, &positions).await?;
        Ok(sealed.into_iter().map(|content| (content.position, content)).collect())
    }
}

fn open<T: DeserializeOwned>(key: &SubjectKey, content: &SealedContent) -> Result<T, EngineError> {
    let plain = key.open(content.command_id, Column::Text, &content.sealed)?;
    // the parser's error may quote the content
    serde_json::from_slice(&plain).map_err(|_| {
        StoreError::Corrupt { position: content.position, what: "its content has another shape" }
            .into()
    })
}
