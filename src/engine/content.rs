//! The contents of steps: their JSON form, sealing them, and opening them.

mod answer;

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Engine;
use crate::{
    domain::ids::{CommandId, Position},
    store::{
        Content,
        keys::Column,
        subject::{Subject, SubjectError},
        writer::{Sealed, WriteError},
    },
};

pub(super) use answer::StoredAnswer;

/// The part of the content of `step.admitted` and `step.rejected` that is remembered.
#[derive(Deserialize)]
pub(super) struct StoredPrompt {
    pub(super) prompt: String,
}

/// Seals the content and the vector of one command.
pub(super) fn seal<T: Serialize>(
    subject: &Subject,
    command_id: CommandId,
    content: &T,
    vector: Option<&[u8]>,
) -> Result<Sealed, WriteError> {
    let plain = serde_json::to_vec(content)
        .map_err(|_| WriteError::Defect("a content has no JSON form".to_owned()))?;
    let seal = |column, plain: &[u8]| subject.key.seal(command_id, column, plain);
    Ok(Sealed::new(Content {
        sealed: seal(Column::Text, &plain)?,
        vector: vector.map(|plain| seal(Column::Vector, plain)).transpose()?,
    }))
}

/// Reads and opens the contents at `positions`, from the writer's cache or the database. The result
/// lacks positions whose content or key was erased.
pub(super) async fn open(
    engine: &Engine,
    positions: &[Position],
) -> Result<HashMap<Position, Vec<u8>>, SubjectError> {
    let mut contents = HashMap::with_capacity(positions.len());
    let take = |position, plain| {
        contents.insert(position, plain);
        Ok::<_, SubjectError>(())
    };
    open_each(engine, positions, take).await?;
    Ok(contents)
}

/// As [`open`], but gives each content to a function, so that all of them need not be held at once.
pub(super) async fn open_each<E: From<SubjectError>>(
    engine: &Engine,
    positions: &[Position],
    mut take: impl FnMut(Position, Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut sealed, missing) = engine.writer.content_cache().get(positions);
    if !missing.is_empty() {
        let read = engine.parts.store.sealed_contents(&engine.id, &missing).await;
        let read = read.map_err(SubjectError::from)?;
        let read: Vec<_> = read.into_iter().map(Arc::new).collect();
        engine.writer.content_cache().insert(read.iter().cloned());
        sealed.extend(read);
    }
    for content in sealed {
        let Some(subject) = engine.subjects.by_ref(content.subject_ref).await? else { continue };
        let plain = subject.key.open(content.command_id, Column::Text, &content.sealed);
        let plain = plain.map_err(SubjectError::from)?;
        let position = content.position;
        drop(content);
        take(position, plain)?;
    }
    Ok(())
}

/// Parses an opened content. The parser's error is dropped because it may quote the content.
pub(super) fn parse<T: DeserializeOwned>(content: &[u8]) -> Result<T, WriteError> {
    serde_json::from_slice(content)
        .map_err(|_| WriteError::Defect("a sealed content has an unexpected shape".to_owned()))
}
