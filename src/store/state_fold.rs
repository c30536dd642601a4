//! Folds rows of a log into a state, for replay, catching up, and the tail read under the lock.
//!
//! The fold recomputes each row's leaf and chain hash, so no state is built from an edited log. Of
//! the contents it reads only the vectors, which the trace levels need.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::domain::{
    event::{Envelope, Event, LOG_FORMAT},
    evolve::{self, FoldError, evolve},
    ids::{EngineId, Position, Sha256, SubjectRef},
    rules::Rules,
    state::State,
    vector::{UnitVector, VectorError},
};

use super::{
    EngineRow, Head, Record, StoreError, SubjectRow, chain,
    codec::{self, CodecError},
    keys::{Column, ContentKey, SubjectKey},
    seal::SealError,
};

/// The maximum number of cached subject keys; a full cache is emptied.
const KEYS_MAX: usize = 10_000;

/// Rows per page when a log is folded.
pub const PAGE: u32 = 2_000;

/// A log that cannot be folded, with the position and the cause.
#[derive(Debug, thiserror::Error)]
#[error("engine {engine}, position {position}: {cause}")]
pub struct LogDamage {
    /// The engine.
    pub engine: EngineId,
    /// The position of the row.
    pub position: Position,
    /// The cause.
    #[source]
    pub cause: DamageCause,
}

/// The reason why a row cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum DamageCause {
    /// A row is missing.
    #[error("a row is missing: found position {found} instead")]
    Gap {
        /// The position of the row found instead.
        found: Position,
    },
    /// The row does not have the form of an event.
    #[error("the row cannot be read ({0})")]
    Unreadable(&'static str),
    /// The log ends before an event that this process has folded.
    #[error("events up to position {folded} were removed after this process had read them")]
    Removed {
        /// The position of the last event that this process has folded.
        folded: Position,
    },
    /// The last event that this process has folded is another one now.
    #[error("this event or an earlier one was replaced after this process had read it")]
    Replaced,
    /// The background audit found an edit before the last folded event.
    #[error("the audit failed: {0}; `mlsdm audit verify` repeats it")]
    Audit(String),
    /// This row or an earlier one was edited.
    #[error("the hash chain is broken; `mlsdm audit verify` shows where it was edited")]
    Chain,
    /// The event cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The event contradicts the state before it.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The sealed vector cannot be decoded.
    #[error("its vector cannot be decoded: {0}")]
    Key(#[from] SealError),
    /// The vector is invalid.
    #[error("its vector is damaged: {0}")]
    Vector(#[from] VectorError),
    /// The log has a newer format.
    #[error("log format {found} is newer than {LOG_FORMAT}; run a newer binary")]
    Format {
        /// The format of the log.
        found: u32,
    },
    /// The event was decided by rules that this binary does not have.
    #[error(
        "it was decided by rules version {found}, and mlsdm {} has version {}; run the mlsdm that \
         recorded it or a newer one",
        env!("CARGO_PKG_VERSION"), Rules::NEWEST.version()
    )]
    Rules {
        /// The version of the rules.
        found: u32,
    },
}

impl DamageCause {
    /// The kind of damage, without values of the row.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "missing",
            Self::Unreadable(_) => "unreadable",
            Self::Chain => "chain",
            Self::Codec(_) => "event",
            Self::Fold(_) => "contradiction",
            Self::Key(_) | Self::Vector(_) => "vector",
            Self::Format { .. } => "format",
            Self::Rules { .. } => "rules",
            Self::Removed { .. } => "removed",
            Self::Replaced => "replaced",
            Self::Audit(_) => "audit",
        }
    }
}

/// The error of a replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be folded.
    #[error(transparent)]
    Damage(#[from] Box<LogDamage>),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row and its sealed vector.
pub type RecordWithVector = (Record, Option<Vec<u8>>);

/// A fold in progress: the state and the chain hash of the events folded so far.
pub struct StateFold {
    engine: EngineId,
    content_key: Arc<ContentKey>,
    keys: HashMap<SubjectRef, Option<Arc<SubjectKey>>>,
    erased: HashSet<SubjectRef>,
    /// The state; `None` before the first event.
    pub state: Option<State>,
    /// Chain hash of the last folded event.
    pub chain_hash: Sha256,
}

/// A decoded event with its envelope and vector.
pub struct DecodedEvent {
    /// The envelope.
    pub envelope: Envelope,
    /// The event.
    pub event: Event,
    /// The vector, if the event has one that has not been erased.
    pub vector: Option<UnitVector>,
}

impl StateFold {
    /// A fold before the first event.
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

    /// The position of the last folded event; 0 before the first.
    pub fn position(&self) -> Position {
        self.state.as_ref().map_or(0, |state| state.position)
    }

    /// The content key, which unwraps subject keys.
    pub fn content_key(&self) -> Arc<ContentKey> {
        Arc::clone(&self.content_key)
    }

    /// True if an erasure of this subject was folded.
    pub fn is_erased(&self, subject: SubjectRef) -> bool {
        self.erased.contains(&subject)
    }

    /// The subjects whose keys these rows need and the cache does not hold.
    pub fn missing_keys(&mut self, rows: &[RecordWithVector]) -> Vec<SubjectRef> {
        // emptied first, so that the keys of these rows are among those returned
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

    /// Caches the keys of subjects. A requested subject without a row was erased.
    pub fn add_keys(
        &mut self,
        requested: &[SubjectRef],
        rows: &[SubjectRow],
    ) -> Result<(), SealError> {
        self.keys.extend(requested.iter().map(|subject| (*subject, None)));
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

    /// Like [`Self::apply`], and calls `observe` with the state before each event, its row and the
    /// event.
    pub fn apply_observed(
        &mut self,
        rows: Vec<RecordWithVector>,
        until: Position,
        observe: &mut dyn FnMut(Option<&State>, &Record, &DecodedEvent),
    ) -> Result<(), Box<LogDamage>> {
        for row in rows.into_iter().take_while(|(record, _)| record.position <= until) {
            let position = self.position() + 1;
            self.apply_record(&row, observe).map_err(|cause| {
                Box::new(LogDamage { engine: self.engine.clone(), position, cause })
            })?;
        }
        Ok(())
    }

    fn apply_record(
        &mut self,
        row: &RecordWithVector,
        observe: &mut dyn FnMut(Option<&State>, &Record, &DecodedEvent),
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
        if Rules::from_version(record.decide_version).is_none() {
            return Err(DamageCause::Rules { found: record.decide_version });
        }
        let decoded = self.decode(row)?;
        observe(self.state.as_ref(), record, &decoded);
        self.apply_event(decoded)?;
        self.chain_hash = link;
        Ok(())
    }

    fn decode(&self, (record, sealed): &RecordWithVector) -> Result<DecodedEvent, DamageCause> {
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

    fn apply_event(&mut self, decoded: DecodedEvent) -> Result<(), DamageCause> {
        let DecodedEvent { envelope, event, vector } = decoded;
        if let Some(found) = event.begins_format().filter(|format| *format > LOG_FORMAT) {
            return Err(DamageCause::Format { found });
        }
        match &mut self.state {
            None => self.state = Some(evolve::begin(&envelope, &event)?),
            Some(state) => evolve(state, &envelope, &event, vector)?,
        }
        // last: an event that cannot be folded changes nothing
        if let Event::SubjectErased(erased) = &event {
            self.keys.remove(&erased.subject_ref);
            self.erased.insert(erased.subject_ref);
        }
        Ok(())
    }
}

/// Checks that a log still contains all that was folded. Its head may be after the folded events, which
/// is no damage: the chain shows whether the events between continue them.
pub fn check_head(
    engine: &EngineId,
    (position, chain_hash): (Position, Sha256),
    head: &Head,
) -> Result<(), Box<LogDamage>> {
    let damage =
        |position, cause| Err(Box::new(LogDamage { engine: engine.clone(), position, cause }));
    if head.position < position {
        return damage(head.position + 1, DamageCause::Removed { folded: position });
    }
    if head.position == position && head.chain_hash != chain_hash {
        return damage(position, DamageCause::Replaced);
    }
    Ok(())
}

/// Checks that this binary supports the log format of an engine.
pub fn check_format(engine: &EngineRow) -> Result<(), Box<LogDamage>> {
    if engine.log_format <= LOG_FORMAT {
        return Ok(());
    }
    let cause = DamageCause::Format { found: engine.log_format };
    Err(Box::new(LogDamage { engine: engine.engine_id.clone(), position: 0, cause }))
}
