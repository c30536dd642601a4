//! Folds rows of a log into a state, for replay, catching up, and the tail read under the lock.
//!
//! The fold recomputes each row's leaf and chain hash, so no state is built from an edited log. Of
//! the contents it reads only the vectors, which the trace levels need.

mod damage;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::domain::{
    event::{Envelope, Event, Fact, LOG_FORMAT},
    evolve::{self, evolve},
    ids::{EngineId, MacKeyId, Position, Sha256, SubjectRef},
    rules::Rules,
    state::State,
    vector::UnitVector,
};

use super::{
    MacKeyRow, Record, SubjectRow, chain, codec,
    keys::{Column, ContentKey, SubjectKey},
    mac::{MAC_KEYS_MAX, MacKey, MacRing},
};

pub use damage::{DamageCause, LogDamage, MAC_FORMAT, ReplayError, check_format, check_head};

/// The maximum number of cached subject keys; a full cache is emptied.
const KEYS_MAX: usize = 10_000;

/// Rows per page when a log is folded.
pub const PAGE: u32 = 2_000;

/// A row and its sealed vector.
pub type RecordWithVector = (Record, Option<Vec<u8>>);

/// A fold in progress: the state and the chain hash of the events folded so far.
pub struct StateFold {
    engine: EngineId,
    content_key: Arc<ContentKey>,
    keys: HashMap<SubjectRef, Option<Arc<SubjectKey>>>,
    erased: HashSet<SubjectRef>,
    mac_ring: Arc<MacRing>,
    /// The MAC key of the last event that was checked.
    mac_key: Option<Arc<MacKey>>,
    /// The lowest MAC key that the next event may have: an earlier one ended with a rotation.
    pub(super) least_mac_key: MacKeyId,
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
    pub fn new(engine: EngineId, content_key: Arc<ContentKey>, mac_ring: Arc<MacRing>) -> Self {
        let chain_hash = chain::genesis(&engine);
        Self {
            engine,
            content_key,
            keys: HashMap::new(),
            erased: HashSet::new(),
            mac_ring,
            mac_key: None,
            least_mac_key: 0,
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

    /// The MAC keys of the database.
    pub fn mac_ring(&self) -> Arc<MacRing> {
        Arc::clone(&self.mac_ring)
    }

    /// The ids of the MAC keys that these rows need and that were not read, at most
    /// [`MAC_KEYS_MAX`].
    pub fn missing_mac_keys(&self, rows: &[RecordWithVector]) -> Vec<MacKeyId> {
        let signed = rows.iter().filter_map(|(record, _)| record.mac).map(|mac| mac.key);
        let begun = rows.iter().filter_map(|(record, _)| key_that_begins(record));
        let mut ids: Vec<MacKeyId> = signed.chain(begun).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.mac_ring.get(*id).is_none());
        ids.truncate(MAC_KEYS_MAX);
        ids
    }

    /// The MAC key of the next event. A rotation that this log already has counts even if the server's
    /// own log, which selects the key, was not read since.
    pub fn signing_key(&self) -> Option<Arc<MacKey>> {
        let current = self.mac_ring.current()?;
        if current.id() >= self.least_mac_key {
            return Some(current);
        }
        self.mac_ring.get(self.least_mac_key)
    }

    /// Raises the lowest MAC key to that of an event of this log, and to the one that it begins.
    pub(super) fn note_mac_key(&mut self, record: &Record, begun: Option<MacKeyId>) {
        let signed = record.mac.map(|mac| mac.key).filter(|_| self.format() >= MAC_FORMAT);
        self.least_mac_key = self.least_mac_key.max(signed.unwrap_or(0)).max(begun.unwrap_or(0));
    }

    /// Adds MAC keys to those of the database. A key that cannot be unwrapped stays unknown.
    pub fn add_mac_keys(&self, rows: &[MacKeyRow]) {
        self.mac_ring.open(&self.content_key, rows);
    }

    /// Checks the format at the end of the log against the one for which the engine's index key was
    /// wrapped.
    pub fn check_log_format(&self, written: u32) -> Result<(), Box<LogDamage>> {
        let found = self.format();
        if found == written {
            return Ok(());
        }
        // no event is authentic, so none can be kept
        let cause = DamageCause::FormatOfLog { found, written };
        Err(Box::new(LogDamage { engine: self.engine.clone(), position: 1, cause }))
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

    /// Caches the keys of subjects. A requested subject without a row was erased; a key that does not
    /// open counts as erased too.
    pub fn add_keys(&mut self, requested: &[SubjectRef], rows: &[SubjectRow]) {
        self.keys.extend(requested.iter().map(|subject| (*subject, None)));
        for row in rows {
            let (subject, wrapped) = (row.subject_ref, &row.wrapped_key);
            match self.content_key.unwrap_subject_key(&self.engine, subject, wrapped) {
                Ok(key) => drop(self.keys.insert(subject, Some(Arc::new(key)))),
                Err(error) => {
                    let engine = &self.engine;
                    tracing::warn!(%engine, %subject, %error, "the key of a data subject does not open");
                }
            }
        }
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
        // before all else, so that a forged event is not reported as one of a newer binary
        let is_authentic = self.format() >= MAC_FORMAT;
        if is_authentic {
            self.authenticate(record)?;
        }
        if Rules::from_version(record.decide_version).is_none() {
            return Err(DamageCause::Rules { found: record.decide_version });
        }
        let decoded = self.decode(row)?;
        if !is_authentic && decoded.event.begins_format() >= Some(MAC_FORMAT) {
            self.authenticate(record)?;
        }
        observe(self.state.as_ref(), record, &decoded);
        let begun = begun_mac_key(&decoded.event);
        self.apply_event(decoded)?;
        self.note_mac_key(record, begun);
        self.chain_hash = link;
        Ok(())
    }

    /// The format of the log so far. The events decide whether a MAC is required, not a column that
    /// whoever forges an event can write as well.
    fn format(&self) -> u32 {
        self.state.as_ref().map_or(1, |state| state.log_format)
    }

    fn authenticate(&mut self, record: &Record) -> Result<(), DamageCause> {
        let mac = record.mac.ok_or(DamageCause::MacMissing)?;
        if self.mac_key.as_ref().is_none_or(|key| key.id() != mac.key) {
            self.mac_key = self.mac_ring.get(mac.key);
        }
        let key = self.mac_key.as_ref().ok_or(DamageCause::MacKey { key: mac.key })?;
        if !key.verify(&self.engine, record.position, record.chain_hash, &mac) {
            return Err(DamageCause::Mac);
        }
        let least = self.least_mac_key;
        if mac.key < least {
            return Err(DamageCause::MacKeyRetired { key: mac.key, least });
        }
        Ok(())
    }

    fn decode(&self, (record, sealed): &RecordWithVector) -> Result<DecodedEvent, DamageCause> {
        let event = codec::decode(&record.kind, record.schema_version, &record.payload)?;
        let vector = match (sealed, self.state.as_ref()) {
            (Some(sealed), Some(state)) => self.open_vector(record, sealed, state.policy.dimension),
            _ => None,
        };
        Ok(DecodedEvent { envelope: record.envelope(), event, vector })
    }

    /// A vector that does not open is one that is missing: contents are not part of the log, and the
    /// audit reports them.
    fn open_vector(&self, record: &Record, sealed: &[u8], dimension: usize) -> Option<UnitVector> {
        let key = self.keys.get(&record.subject_ref?)?.as_ref()?;
        let plain = key.open(record.command_id, Column::Vector, sealed).ok()?;
        UnitVector::from_stored(&plain, dimension).ok()
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

/// The MAC key that events have after this one, if it is `mac_key.changed`.
pub fn key_that_begins(record: &Record) -> Option<MacKeyId> {
    if record.kind != "mac_key.changed" {
        return None;
    }
    let event = codec::decode(&record.kind, record.schema_version, &record.payload).ok()?;
    begun_mac_key(&event)
}

/// The MAC key that an event begins.
pub fn begun_mac_key(event: &Event) -> Option<MacKeyId> {
    if let Event::Fact(fact) = event
        && let Fact::MacKeyChanged(changed) = &**fact
    {
        return Some(changed.id);
    }
    None
}
