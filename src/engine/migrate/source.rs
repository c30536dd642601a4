//! The engine that is copied: folded once, its texts opened a page at a time.

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
        generate::{AnswerText, PromptText},
    },
    store::{
        SealedContent, Store, StoreError,
        keys::{Column, ContentKey, SubjectKey},
        replay,
        state_fold::{self, ReplayError},
    },
};

/// An engine as it was when it was opened. No writer runs for it, so its embedder need not.
pub(super) struct Source {
    store: Store,
    content_key: Arc<ContentKey>,
    pub(super) engine: EngineId,
    pub(super) state: State,
}

/// An item with its words and the name of who said them.
pub(super) struct Exchange<'a> {
    pub(super) item: &'a Item,
    pub(super) name: String,
    pub(super) prompt: String,
    pub(super) answer: AnswerText,
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
        state_fold::check_format(&row).map_err(ReplayError::from)?;
        let folder = replay::replay(&store, &content_key, engine, Position::MAX, progress).await?;
        let state = folder.state.ok_or_else(|| EngineError::Empty(engine.clone()))?;
        Ok(Self { store, content_key, engine: engine.clone(), state })
    }

    /// The words of items; those whose text or key is erased are left out.
    pub(super) async fn exchanges<'a>(
        &self,
        items: &[&'a Item],
    ) -> Result<Vec<Exchange<'a>>, EngineError> {
        let people = self.people(items).await?;
        let texts = self.texts(items).await?;
        let mut exchanges = Vec::with_capacity(items.len());
        for &item in items {
            let text = |position: &Position| texts.get(position);
            let found = (text(&item.prompt_position), text(&item.position));
            let (Some((name, key)), (Some(prompt), Some(answer))) =
                (people.get(&item.subject), found)
            else {
                continue;
            };
            let PromptText { prompt } = opened(key, prompt)?;
            let answer = opened(key, answer)?;
            exchanges.push(Exchange { item, name: name.clone(), prompt, answer });
        }
        Ok(exchanges)
    }

    /// Names and keys of whose words the items are.
    async fn people(
        &self,
        items: &[&Item],
    ) -> Result<HashMap<SubjectRef, (String, SubjectKey)>, EngineError> {
        let mut refs: Vec<SubjectRef> = items.iter().map(|item| item.subject).collect();
        refs.sort_unstable();
        refs.dedup();
        let mut people = HashMap::with_capacity(refs.len());
        for row in self.store.subjects_by_ref(&self.engine, &refs).await? {
            let (subject, wrapped) = (row.subject_ref, &row.wrapped_key);
            let key = self.content_key.unwrap_subject_key(&self.engine, subject, wrapped)?;
            people.insert(subject, (key.open_name(&row.sealed_name)?, key));
        }
        Ok(people)
    }

    async fn texts(
        &self,
        items: &[&Item],
    ) -> Result<HashMap<Position, SealedContent>, EngineError> {
        let both = |item: &&Item| [item.prompt_position, item.position];
        let mut positions: Vec<Position> = items.iter().flat_map(both).collect();
        positions.sort_unstable();
        positions.dedup();
        let sealed = self.store.sealed_contents(&self.engine, &positions).await?;
        Ok(sealed.into_iter().map(|text| (text.position, text)).collect())
    }
}

fn opened<T: DeserializeOwned>(key: &SubjectKey, text: &SealedContent) -> Result<T, EngineError> {
    let plain = key.open(text.command_id, Column::Text, &text.sealed)?;
    // the parser's error may quote the text
    serde_json::from_slice(&plain).map_err(|_| {
        StoreError::Corrupt { position: text.position, what: "its text has another shape" }.into()
    })
}
