//! Reads the recorded answers of a log for the provider `replay`.

use std::{collections::HashMap, sync::Arc};

use super::{
    EngineError,
    content::{self, StoredAnswer, StoredPrompt},
};
use crate::{
    domain::{
        event::{Event, StepCompleted},
        ids::{EngineId, Position},
    },
    llm::{ProviderCompletion, RecordedAnswer, Replay},
    store::{
        Record, Store, StoreError, codec,
        keys::{Column, ContentKey},
        subject::{Directory, Subjects},
    },
};

/// Rows per read.
const PAGE: u32 = 500;

/// Reads the answers of an engine's log in the order of the log, up to the limits of [`Replay`].
/// Erased and withheld answers are left out.
pub async fn read_recorded_answers(
    store: &Store,
    content_key: &Arc<ContentKey>,
    engine: &EngineId,
) -> Result<Replay, EngineError> {
    let row = store.engine(engine).await?;
    let row = row.ok_or_else(|| StoreError::EngineMissing(engine.clone()))?;
    let (index_key, _) = content_key.unwrap_index_key(&row)?;
    let directory = Arc::new(Directory::new(engine.clone(), Arc::clone(content_key), index_key));
    let reader = Reader { store, engine, subjects: Subjects::new(store.clone(), directory) };
    let (mut replay, mut after) = (Replay::default(), 0);
    loop {
        let page = store.read(engine, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(replay) };
        after = last.position;
        if !reader.add(&mut replay, &page).await? {
            tracing::warn!(
                event_type = "llm.replay_full",
                answers = replay.len(),
                "the log has more answers than the replay provider can hold; later ones are left out"
            );
            return Ok(replay);
        }
    }
}

struct Reader<'a> {
    store: &'a Store,
    engine: &'a EngineId,
    subjects: Subjects,
}

impl Reader<'_> {
    /// Adds the answers of a page. Returns false if the limits of [`Replay`] are reached.
    async fn add(&self, replay: &mut Replay, page: &[Record]) -> Result<bool, EngineError> {
        let answers: Vec<_> = page.iter().filter_map(answer).collect();
        let positions: Vec<Position> = answers
            .iter()
            .flat_map(|(position, completed)| [completed.admitted_position, *position])
            .collect();
        let contents = self.contents(&positions).await?;
        for (position, completed) in answers {
            let prompt = contents.get(&completed.admitted_position).map(|c| content::parse(c));
            let answer = contents.get(&position).map(|c| content::parse(c));
            let (Some(Ok(prompt)), Some(Ok(answer))) = (prompt, answer) else { continue };
            let StoredPrompt { prompt } = prompt;
            let StoredAnswer { answer: text, tool_calls, reasoning, native, .. } = answer;
            let StepCompleted { model, finish_reason, usage, .. } = *completed;
            let completion = ProviderCompletion { model, finish_reason, usage: Some(usage) };
            let recorded = RecordedAnswer { text, tool_calls, reasoning, native, completion };
            if !replay.add(&prompt, recorded) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads and opens the contents at `positions`, except those whose content or key was erased.
    async fn contents(
        &self,
        positions: &[Position],
    ) -> Result<HashMap<Position, Vec<u8>>, EngineError> {
        let mut contents = HashMap::with_capacity(positions.len());
        for content in self.store.sealed_contents(self.engine, positions).await? {
            let Some(subject) = self.subjects.by_ref(content.subject_ref).await? else { continue };
            let plain = subject.key.open(content.command_id, Column::Text, &content.sealed)?;
            contents.insert(content.position, plain);
        }
        Ok(contents)
    }
}

/// The position and the event, if the record is a completed step. Records that cannot be decoded are
/// skipped; `mlsdm audit verify` reports them.
fn answer(record: &Record) -> Option<(Position, Box<StepCompleted>)> {
    match codec::decode(&record.kind, record.schema_version, &record.payload) {
        Ok(Event::StepCompleted(completed)) => Some((record.position, completed)),
        Ok(_) | Err(_) => None,
    }
}
