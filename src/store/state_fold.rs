//! Folds rows of the log into a state: replay, catching up, the tail under the lock.
//!
//! Each row's leaf and link are recomputed on the way, so a state is never built on an edited log.
//! Contents are not read here but for the vectors that the trace levels need.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::domain::{
    event::{Envelope, Event, LOG_FORMAT},
    evolve::{self, FoldError, evolve},
    ids::{EngineId, Position, Sha256, SubjectRef},
    state::State,
    vector::{UnitVector, VectorError},
};

use super::{
    EngineRow, Record, StoreError, SubjectRow, chain,
    codec::{self, CodecError},
    keys::{Column, ContentKey, SubjectKey},
    seal::SealError,
};

/// Most subject keys kept for folding; a full cache is emptied.
const KEYS_MAX: usize = 10_000;

/// Rows read at once when a log is folded.
pub const PAGE: u32 = 2_000;

/// A log that cannot be folded: where, and what is wrong there.
#[derive(Debug, thiserror::Error)]
#[error("engine {engine}, position {position}: {cause}")]
pub struct LogDamage {
    /// Which engine.
    pub engine: EngineId,
    /// Where.
    pub position: Position,
    /// What.
    #[source]
    pub cause: DamageCause,
}

/// What makes a row unusable.
#[derive(Debug, thiserror::Error)]
pub enum DamageCause {
    /// The row does not follow the one before.
    #[error("a row is missing: position {found} came instead")]
    Gap {
        /// What came instead.
        found: Position,
    },
    /// The row or an earlier one was edited.
    #[error("the hash chain is broken; `mlsdm audit verify` shows where it was edited")]
    Chain,
    /// Unknown, newer or damaged.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It does not follow from the state before.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// Its content cannot be opened.
    #[error("its vector cannot be opened: {0}")]
    Key(#[from] SealError),
    /// Its vector is no vector.
    #[error("its vector is damaged: {0}")]
    Vector(#[from] VectorError),
    /// The log was written in a format of the future.
    #[error("log format {found} is newer than {LOG_FORMAT}; run a newer binary")]
    Format {
        /// The log's format.
        found: u32,
    },
}

/// Why folding stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log is damaged.
    #[error(transparent)]
    Damage(#[from] Box<LogDamage>),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row and the sealed vector beside it.
pub type RecordWithVector = (Record, Option<Vec<u8>>);

/// A state being folded, with the chain hash that proves what it was folded from.
pub struct StateFold {
    engine: EngineId,
    content_key: Arc<ContentKey>,
    keys: HashMap<SubjectRef, Option<Arc<SubjectKey>>>,
    erased: HashSet<SubjectRef>,
    /// `None` before the first event.
    pub state: Option<State>,
    /// Chain hash of the last folded event.
    pub chain_hash: Sha256,
}

/// A row's place, payload and vector, ready to be folded.
pub struct DecodedEvent {
    /// Its place.
    pub envelope: Envelope,
    /// Its payload.
    pub event: Event,
    /// Its vector, if it was stored with one that still exists.
    pub vector: Option<UnitVector>,
}

impl StateFold {
    /// Nothing folded yet.
    pub fn new(engine: EngineId, content_key: Arc<ContentKey>) -> Self {
        let chain_hash = chain::genesis(&engine);
        Self {
            engine,
            content_key,
            keys: HashMap::new(),
            erased: HashSet::new(),
            state: None,
            chain_hash,
        }
    }

    /// The last folded position.
    pub fn position(&self) -> Position {
        self.state.as_ref().map_or(0, |state| state.position)
    }

    /// The key it opens subject keys with.
    pub fn content_key(&self) -> Arc<ContentKey> {
        Arc::clone(&self.content_key)
    }

    /// Whether an erasure of this subject was folded.
    pub fn is_erased(&self, subject: SubjectRef) -> bool {
        self.erased.contains(&subject)
    }

    /// The subjects whose keys are needed for these rows and not known yet.
    pub fn missing_keys(&mut self, rows: &[RecordWithVector]) -> Vec<SubjectRef> {
        // before asking, so that the rows' own keys are among those asked for
        if self.keys.len() + rows.len() > KEYS_MAX {
            self.keys.clear();
        }
        let mut refs: Vec<SubjectRef> = rows
            .iter()
            .filter(|(_, vector)| vector.is_some())
            .filter_map(|(record, _)| record.subject_ref)
            .filter(|subject| !self.keys.contains_key(subject))
            .collect();
        refs.sort_unstable();
        refs.dedup();
        refs
    }

    /// Takes the keys of subjects; those asked for and not among the rows are gone.
    pub fn add_keys(&mut self, asked: &[SubjectRef], rows: &[SubjectRow]) -> Result<(), SealError> {
        self.keys.extend(asked.iter().map(|subject| (*subject, None)));
        for row in rows {
            let key = self.content_key.unwrap_subject_key(
                &self.engine,
                row.subject_ref,
                &row.wrapped_key,
            )?;
            self.keys.insert(row.subject_ref, Some(Arc::new(key)));
        }
        Ok(())
    }

    /// Folds rows up to and including `until`.
    pub fn apply(
        &mut self,
        rows: Vec<RecordWithVector>,
        until: Position,
    ) -> Result<(), Box<LogDamage>> {
        self.apply_observed(rows, until, &mut |_, _, _| {})
    }

    /// The same, showing each event to `watch` with its row and the state before it.
    pub fn apply_observed(
        &mut self,
        rows: Vec<RecordWithVector>,
        until: Position,
        watch: &mut dyn FnMut(Option<&State>, &Record, &DecodedEvent),
    ) -> Result<(), Box<LogDamage>> {
        for row in rows.into_iter().take_while(|(record, _)| record.position <= until) {
            let position = self.position() + 1;
            self.apply_record(&row, watch).map_err(|cause| {
                Box::new(LogDamage { engine: self.engine.clone(), position, cause })
            })?;
        }
        Ok(())
    }

    fn apply_record(
        &mut self,
        row: &RecordWithVector,
        watch: &mut dyn FnMut(Option<&State>, &Record, &DecodedEvent),
    ) -> Result<(), DamageCause> {
        let (record, _) = row;
        let position = self.position() + 1;
        if record.position != position {
            return Err(DamageCause::Gap { found: record.position });
        }
        let leaf = chain::leaf(&self.engine, record);
        let link = chain::link(self.chain_hash, position, leaf);
        if leaf != record.leaf_hash || link != record.chain_hash {
            return Err(DamageCause::Chain);
        }
        let opened = self.open(row)?;
        watch(self.state.as_ref(), record, &opened);
        self.apply_event(opened)?;
        self.chain_hash = link;
        Ok(())
    }

    fn open(&self, (record, sealed): &RecordWithVector) -> Result<DecodedEvent, DamageCause> {
        let event = codec::decode(&record.kind, record.schema_version, &record.payload)?;
        let vector = match (sealed, self.state.as_ref()) {
            (Some(sealed), Some(state)) => {
                self.open_vector(record, sealed, state.policy.dimension)?
            }
            _ => None,
        };
        Ok(DecodedEvent { envelope: record.envelope(), event, vector })
    }

    fn open_vector(
        &self,
        record: &Record,
        sealed: &[u8],
        dimension: usize,
    ) -> Result<Option<UnitVector>, DamageCause> {
        let Some(subject) = record.subject_ref else { return Ok(None) };
        let Some(Some(key)) = self.keys.get(&subject) else { return Ok(None) };
        let plain = key.open(record.command_id, Column::Vector, sealed)?;
        Ok(Some(UnitVector::from_stored(&plain, dimension)?))
    }

    fn apply_event(&mut self, opened: DecodedEvent) -> Result<(), DamageCause> {
        let DecodedEvent { envelope, event, vector } = opened;
        if let Event::EngineCreated(created) = &event
            && created.log_format > LOG_FORMAT
        {
            return Err(DamageCause::Format { found: created.log_format });
        }
        if let Event::SubjectErased(erased) = &event {
            self.keys.remove(&erased.subject_ref);
            self.erased.insert(erased.subject_ref);
        }
        match &mut self.state {
            None => self.state = Some(evolve::begin(&envelope, &event)?),
            Some(state) => evolve(state, &envelope, &event, vector)?,
        }
        Ok(())
    }
}

/// Refuses an engine whose log a newer binary has moved on to a format unknown here.
pub fn check_format(engine: &EngineRow) -> Result<(), Box<LogDamage>> {
    if engine.log_format <= LOG_FORMAT {
        return Ok(());
    }
    let cause = DamageCause::Format { found: engine.log_format };
    Err(Box::new(LogDamage { engine: engine.engine_id.clone(), position: 0, cause }))
}
