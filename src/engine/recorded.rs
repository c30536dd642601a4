//! The answers of a log, for the `replay` provider: read once, opened, kept by prompt.

use std::{collections::HashMap, sync::Arc};

use super::{
    EngineError,
    generate::{AnswerText, PromptText},
};
use crate::{
    domain::{
        event::{Event, StepCompleted},
        ids::{EngineId, Position},
    },
    llm::{ProviderCompletion, RecordedAnswer, Replay},
    store::{
        Record, SealedContent, Store, StoreError, codec,
        keys::{Column, ContentKey},
        subject::{Directory, Subject},
    },
};

/// Events read at once.
const PAGE: u32 = 500;

/// Reads the answers of an engine's log, in its order, as many as are kept. Erased and withheld ones
/// are left out.
pub async fn read_recorded_answers(
    store: &Store,
    content_key: &Arc<ContentKey>,
    engine: &EngineId,
) -> Result<Replay, EngineError> {
    let row = store.engine(engine).await?;
    let row = row.ok_or_else(|| StoreError::EngineMissing(engine.clone()))?;
    let index_key = content_key.unwrap_index_key(engine, &row.index_key)?;
    let directory = Directory::new(engine.clone(), Arc::clone(content_key), index_key);
    let reader = Reader { store, engine, directory };
    let (mut replay, mut after) = (Replay::default(), 0);
    loop {
        let page = store.read(engine, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(replay) };
        after = last.position;
        if !reader.keep(&mut replay, &page).await? {
            tracing::warn!(
                event_type = "llm.replay_full",
                answers = replay.len(),
                "the log has more answers than are kept; later ones are left out"
            );
            return Ok(replay);
        }
    }
}

struct Reader<'a> {
    store: &'a Store,
    engine: &'a EngineId,
    directory: Directory,
}

impl Reader<'_> {
    /// Keeps the answers of a page; says whether there was room for all.
    async fn keep(&self, replay: &mut Replay, page: &[Record]) -> Result<bool, EngineError> {
        let answers: Vec<_> = page.iter().filter_map(answer).collect();
        let wanted: Vec<Position> = answers
            .iter()
            .flat_map(|(position, completed)| [completed.admitted_position, *position])
            .collect();
        let texts = self.texts(&wanted).await?;
        for (position, completed) in answers {
            let prompt = texts.get(&completed.admitted_position).map(|text| parsed(text));
            let answer = texts.get(&position).map(|text| parsed(text));
            let (Some(Some(prompt)), Some(Some(answer))) = (prompt, answer) else { continue };
            let PromptText { prompt } = prompt;
            let AnswerText { answer: text, tool_calls } = answer;
            let StepCompleted { model, finish_reason, usage, .. } = *completed;
            let ending = ProviderCompletion { model, finish_reason, usage: Some(usage) };
            if !replay.keep(&prompt, RecordedAnswer { text, tool_calls, ending }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Opens the texts at positions; those without a content or a key are left out.
    async fn texts(
        &self,
        positions: &[Position],
    ) -> Result<HashMap<Position, Vec<u8>>, EngineError> {
        let mut texts = HashMap::with_capacity(positions.len());
        for text in self.store.sealed_contents(self.engine, positions).await? {
            let Some(subject) = self.subject(&text).await? else { continue };
            let plain = subject.key.open(text.command_id, Column::Text, &text.sealed)?;
            texts.insert(text.position, plain);
        }
        Ok(texts)
    }

    async fn subject(&self, text: &SealedContent) -> Result<Option<Arc<Subject>>, EngineError> {
        if let Some(known) = self.directory.get_ref(text.subject_ref) {
            return Ok(Some(known));
        }
        let rows = self.store.subjects_by_ref(self.engine, &[text.subject_ref]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let subject = Arc::new(self.directory.open(row)?);
        self.directory.keep(&subject);
        Ok(Some(subject))
    }
}

/// An answer with its position. `mlsdm audit verify` says more of what cannot be read.
fn answer(record: &Record) -> Option<(Position, Box<StepCompleted>)> {
    match codec::decode(&record.kind, record.schema_version, &record.payload) {
        Ok(Event::StepCompleted(completed)) => Some((record.position, completed)),
        Ok(_) | Err(_) => None,
    }
}

fn parsed<T: serde::de::DeserializeOwned>(text: &[u8]) -> Option<T> {
    serde_json::from_slice(text).ok()
}
