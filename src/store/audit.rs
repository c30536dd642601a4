//! Verifying a log from its stored bytes: every leaf, the chain, every contents row.
//!
//! Catches an edit, swap, insertion or deletion of any byte or row of events and contents but a cut
//! at the newest end and a rewrite of everything; those need a hash kept outside the database.
//! Memory is bounded by one page and by the number of erasures and forgotten items. The log may
//! grow meanwhile: what was appended before the last page is read is verified too.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    Content, Record, Store, StoreError,
    chain::{content_hash, genesis, leaf, link},
};
use crate::domain::ids::{EngineId, Micros, Position, Sha256, SubjectRef};

/// Events read at once, with their contents.
pub const AUDIT_PAGE: u32 = 128;
/// Positions searched at once for erasures.
const REMOVALS_WINDOW: u64 = 20_000;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The engine.
    pub engine: EngineId,
    /// How many events, from the first on, are as they were written.
    pub verified: u64,
    /// The newest position when the verification ended.
    pub head: Position,
    /// The chain hash after the last verified event: compare it with one kept elsewhere.
    pub chain_hash: Sha256,
    /// The first thing that is not as it was written.
    pub first_bad: Option<Bad>,
}

/// A place where the stored bytes contradict themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Where.
    pub position: Position,
    /// What.
    pub what: Finding,
}

/// What is wrong at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// There are events but no engine, or an engine without its first event.
    #[error("the engine's row or its first event is missing")]
    NoEngine,
    /// A row that does not have the form of an event.
    #[error("the row cannot be read ({0})")]
    Unreadable(&'static str),
    /// The position does not follow the one before.
    #[error("an event before it is missing")]
    Gap,
    /// The time falls.
    #[error("it was recorded before the event before it")]
    TimeFalls,
    /// The columns do not have the hash stored with them.
    #[error("a column was changed")]
    Leaf,
    /// The hash does not continue the chain.
    #[error("the chain is broken")]
    Chain,
    /// The contents row does not have the hash stored with the event.
    #[error("its contents were changed")]
    Content,
    /// The contents row is gone and no erasure explains it.
    #[error("its contents are missing without an erasure")]
    ContentMissing,
    /// A contents row that no event was written with.
    #[error("contents that no event was written with")]
    ContentStray,
}

/// Verifies one engine's log, calling `progress` with the position reached after every page.
pub async fn verify(
    store: &Store,
    engine: &EngineId,
    mut progress: impl FnMut(Position) + Send,
) -> Result<Report, StoreError> {
    let mut audit = Audit::new(store, engine);
    loop {
        match audit.page().await? {
            Progress::At(position) => progress(position),
            Progress::Ended(report) => return Ok(report),
        }
    }
}

/// A verification on its way, a page at a time, for who wants to pause in between.
pub struct Audit<'a> {
    store: &'a Store,
    engine: &'a EngineId,
    position: Position,
    chain_hash: Sha256,
    recorded_at: Micros,
    removals: Removals,
}

/// How far a verification is.
#[derive(Debug)]
pub enum Progress {
    /// All is well up to here, and there may be more.
    At(Position),
    /// At the end of the log, or at the first bad place.
    Ended(Report),
}

impl<'a> Audit<'a> {
    /// At the first event.
    pub fn new(store: &'a Store, engine: &'a EngineId) -> Self {
        Self {
            store,
            engine,
            position: 0,
            chain_hash: genesis(engine),
            recorded_at: Micros::MIN,
            removals: Removals::default(),
        }
    }

    /// Verifies the next [`AUDIT_PAGE`] events. Not to be called again once it has ended.
    pub async fn page(&mut self) -> Result<Progress, StoreError> {
        if self.position == 0 && self.store.engine(self.engine).await?.is_none() {
            return self.ended(Some(Bad { position: 0, what: Finding::NoEngine })).await;
        }
        let page = self.store.audit_page(self.engine, self.position, AUDIT_PAGE).await?;
        let mut bad = self.events(&page.rows).await?;
        match page.unreadable {
            Some(StoreError::Corrupt { position, what }) if bad.is_none() => {
                bad = Some(Bad { position, what: Finding::Unreadable(what) });
            }
            Some(error) if bad.is_none() => return Err(error),
            Some(_) | None => {}
        }
        if bad.is_some() {
            return self.ended(bad).await;
        }
        if page.rows.is_empty() {
            let rest = self.rest().await?;
            return self.ended(rest).await;
        }
        Ok(Progress::At(self.position))
    }

    async fn ended(&self, first_bad: Option<Bad>) -> Result<Progress, StoreError> {
        Ok(Progress::Ended(Report {
            engine: self.engine.clone(),
            verified: self.position,
            head: self.store.head(self.engine).await?.position,
            chain_hash: self.chain_hash,
            first_bad,
        }))
    }

    async fn events(
        &mut self,
        rows: &[(Record, Option<Content>)],
    ) -> Result<Option<Bad>, StoreError> {
        for (record, content) in rows {
            let mut finding = self.event(record, content.as_ref());
            if finding == Some(Finding::ContentMissing) && self.is_removed(record).await? {
                finding = None;
            }
            if let Some(what) = finding {
                return Ok(Some(Bad { position: record.position, what }));
            }
            self.position = record.position;
            self.chain_hash = record.chain_hash;
            self.recorded_at = record.recorded_at;
        }
        Ok(None)
    }

    /// All that can be said of an event by itself and the one before.
    fn event(&self, record: &Record, content: Option<&Content>) -> Option<Finding> {
        if record.position != self.position + 1 {
            return Some(Finding::Gap);
        }
        if leaf(self.engine, record) != record.leaf_hash {
            return Some(Finding::Leaf);
        }
        if link(self.chain_hash, record.position, record.leaf_hash) != record.chain_hash {
            return Some(Finding::Chain);
        }
        if record.recorded_at < self.recorded_at {
            return Some(Finding::TimeFalls);
        }
        match (record.content_hash, content) {
            (None, None) => None,
            (None, Some(_)) => Some(Finding::ContentStray),
            (Some(_), None) => Some(Finding::ContentMissing),
            (Some(hash), Some(content)) => {
                (content_hash(&content.sealed, content.vector.as_deref()) != hash)
                    .then_some(Finding::Content)
            }
        }
    }

    /// Whether a later erasure, or a later forgetting of the event or of its step's item, explains
    /// missing contents. What was read so far may be too old: the contents may just have gone.
    async fn is_removed(&mut self, record: &Record) -> Result<bool, StoreError> {
        if self.removals.explain(record, record.position) {
            return Ok(true);
        }
        self.removals.extend(self.store, self.engine, record.position).await?;
        if self.removals.explain(record, record.position) {
            return Ok(true);
        }
        let Some(step) = record.step else {
            return Ok(false);
        };
        let ending = self.store.ending_of(self.engine, step, record.position).await?;
        Ok(ending.is_some_and(|item| self.removals.explain(record, item.position)))
    }

    /// What no single event shows.
    async fn rest(&self) -> Result<Option<Bad>, StoreError> {
        if self.position == 0 {
            return Ok(Some(Bad { position: 1, what: Finding::NoEngine }));
        }
        let stray = self.store.stray_content(self.engine).await?;
        Ok(stray.map(|position| Bad { position, what: Finding::ContentStray }))
    }
}

/// The fields of the removing events' JSON that matter here.
#[derive(Deserialize)]
struct Erased {
    subject_ref: SubjectRef,
}

#[derive(Deserialize)]
struct Forgotten {
    positions: Vec<Position>,
}

/// What later events removed: each with the position of the last event that did.
#[derive(Default)]
struct Removals {
    until: Position,
    subjects: HashMap<SubjectRef, Position>,
    items: HashMap<Position, Position>,
}

impl Removals {
    /// Whether the record's subject, or the item made at `item`, was removed after it.
    fn explain(&self, record: &Record, item: Position) -> bool {
        let subject = record.subject_ref.and_then(|subject| self.subjects.get(&subject));
        let removed = [subject, self.items.get(&item)];
        removed.into_iter().flatten().any(|by| *by > record.position)
    }

    /// Reads on, from `after` at the earliest, to the present head. The events themselves are
    /// verified when the audit reaches them; one that does not parse removes nothing.
    async fn extend(
        &mut self,
        store: &Store,
        engine: &EngineId,
        after: Position,
    ) -> Result<(), StoreError> {
        let head = store.head(engine).await?.position;
        self.until = self.until.max(after);
        while self.until < head {
            let until = self.until.saturating_add(REMOVALS_WINDOW).min(head);
            for record in store.removals(engine, self.until, until).await? {
                self.add(&record);
            }
            self.until = until;
        }
        Ok(())
    }

    fn add(&mut self, removal: &Record) {
        if removal.kind == "subject.erased" {
            if let Ok(erased) = serde_json::from_slice::<Erased>(&removal.payload) {
                self.subjects.insert(erased.subject_ref, removal.position);
            }
        } else if let Ok(forgotten) = serde_json::from_slice::<Forgotten>(&removal.payload) {
            let items = forgotten.positions.into_iter().map(|item| (item, removal.position));
            self.items.extend(items);
        }
    }
}
