//! Verifies a log from its stored bytes: all leaves, the chain, all contents rows.
//!
//! Detects any edit, swap, insertion or deletion in events and contents, with two exceptions:
//! truncation at the newest end, and a consistent rewrite of the whole log. Both require a chain
//! hash kept outside of the database. Memory is bounded by one page and the number of erasures.
//! Events appended during the verification are verified up to the last page read.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    Content, Record, Store, StoreError,
    chain::{content_hash, genesis, leaf, link},
};
use crate::domain::ids::{EngineId, Micros, Position, Sha256, SubjectRef};

/// Events per page, with their contents.
pub const AUDIT_PAGE: u32 = 128;
/// Positions searched for erasures per query.
const ERASURES_WINDOW: u64 = 20_000;

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The engine.
    pub engine: EngineId,
    /// The number of intact events from the first on.
    pub verified: u64,
    /// The newest position when the verification ended.
    pub head: Position,
    /// The chain hash after the last verified event, for comparison with one kept outside of the
    /// database.
    pub chain_hash: Sha256,
    /// The first inconsistency.
    pub first_bad: Option<Inconsistency>,
}

/// An inconsistency of the stored bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inconsistency {
    /// The position.
    pub position: Position,
    /// The kind of inconsistency.
    pub what: Finding,
}

/// The kinds of inconsistency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Events without an engine, or an engine without its first event.
    #[error("the engine's row or its first event is missing")]
    NoEngine,
    /// The row does not have the form of an event.
    #[error("the row cannot be read ({0})")]
    Unreadable(&'static str),
    /// The position does not follow the previous one.
    #[error("an event before it is missing")]
    Gap,
    /// The time is before that of the previous event.
    #[error("it was recorded before the previous event")]
    TimeFalls,
    /// The hash of the columns differs from the stored leaf hash.
    #[error("a column was changed")]
    Leaf,
    /// The stored chain hash does not continue the chain.
    #[error("the chain is broken")]
    Chain,
    /// The hash of the contents row differs from the event's content hash.
    #[error("its contents were changed")]
    Content,
    /// The contents row is missing, and no erasure explains it.
    #[error("its contents are missing without an erasure")]
    ContentMissing,
    /// A contents row without an event.
    #[error("contents without an event")]
    ContentStray,
}

impl Finding {
    /// True if a replay of the log stops at the event too.
    pub const fn concerns_event(self) -> bool {
        match self {
            Self::NoEngine | Self::Unreadable(_) | Self::Gap | Self::Leaf | Self::Chain => true,
            Self::TimeFalls | Self::Content | Self::ContentMissing | Self::ContentStray => false,
        }
    }
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

/// A verification in progress. It processes one page per call, so that callers can pause in
/// between.
pub struct Audit<'a> {
    store: &'a Store,
    engine: &'a EngineId,
    position: Position,
    chain_hash: Sha256,
    recorded_at: Micros,
    erasures: Erasures,
}

/// The progress of a verification.
#[derive(Debug)]
pub enum Progress {
    /// Verified up to this position; there may be more events.
    At(Position),
    /// Ended at the end of the log or at the first inconsistency.
    Ended(Report),
}

impl<'a> Audit<'a> {
    /// Starts before the first event.
    pub fn new(store: &'a Store, engine: &'a EngineId) -> Self {
        Self {
            store,
            engine,
            position: 0,
            chain_hash: genesis(engine),
            recorded_at: Micros::MIN,
            erasures: Erasures::default(),
        }
    }

    /// Verifies the next [`AUDIT_PAGE`] events. Must not be called again after [`Progress::Ended`].
    pub async fn page(&mut self) -> Result<Progress, StoreError> {
        if self.position == 0 && self.store.engine(self.engine).await?.is_none() {
            return self.ended(Some(Inconsistency { position: 0, what: Finding::NoEngine })).await;
        }
        let page = self.store.audit_page(self.engine, self.position, AUDIT_PAGE).await?;
        let mut bad = self.events(&page.rows).await?;
        match page.unreadable {
            Some(StoreError::Corrupt { position, what }) if bad.is_none() => {
                bad = Some(Inconsistency { position, what: Finding::Unreadable(what) });
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

    async fn ended(&self, first_bad: Option<Inconsistency>) -> Result<Progress, StoreError> {
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
    ) -> Result<Option<Inconsistency>, StoreError> {
        for (record, content) in rows {
            let mut finding = self.event(record, content.as_ref());
            if finding == Some(Finding::ContentMissing) && self.is_erased(record).await? {
                finding = None;
            }
            if let Some(what) = finding {
                return Ok(Some(Inconsistency { position: record.position, what }));
            }
            self.position = record.position;
            self.chain_hash = record.chain_hash;
            self.recorded_at = record.recorded_at;
        }
        Ok(None)
    }

    /// Checks an event against itself and the previous one.
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

    /// True if a later erasure explains missing contents. Erasures are read again before the answer
    /// is no: the contents may have been erased during the verification.
    async fn is_erased(&mut self, record: &Record) -> Result<bool, StoreError> {
        if self.erasures.explain(record) {
            return Ok(true);
        }
        self.erasures.extend(self.store, self.engine, record.position).await?;
        Ok(self.erasures.explain(record))
    }

    /// Checks that concern no single event.
    async fn rest(&self) -> Result<Option<Inconsistency>, StoreError> {
        if self.position == 0 {
            return Ok(Some(Inconsistency { position: 1, what: Finding::NoEngine }));
        }
        let stray = self.store.stray_content(self.engine).await?;
        Ok(stray.map(|position| Inconsistency { position, what: Finding::ContentStray }))
    }
}

/// The field of `subject.erased` that is needed here.
#[derive(Deserialize)]
struct Erased {
    subject_ref: SubjectRef,
}

/// The erased subjects, each with the position of its last erasure.
#[derive(Default)]
struct Erasures {
    until: Position,
    subjects: HashMap<SubjectRef, Position>,
}

impl Erasures {
    /// True if the record's subject was erased after the record.
    fn explain(&self, record: &Record) -> bool {
        let erased = record.subject_ref.and_then(|subject| self.subjects.get(&subject));
        erased.is_some_and(|position| *position > record.position)
    }

    /// Reads further erasures, from `after` at the earliest, up to the current head. The erasures
    /// themselves are verified when the audit reaches them; one that does not parse erases nothing.
    async fn extend(
        &mut self,
        store: &Store,
        engine: &EngineId,
        after: Position,
    ) -> Result<(), StoreError> {
        let head = store.head(engine).await?.position;
        self.until = self.until.max(after);
        while self.until < head {
            let until = self.until.saturating_add(ERASURES_WINDOW).min(head);
            for record in store.erasures(engine, self.until, until).await? {
                self.add(&record);
            }
            self.until = until;
        }
        Ok(())
    }

    fn add(&mut self, erasure: &Record) {
        if let Ok(erased) = serde_json::from_slice::<Erased>(&erasure.payload) {
            self.subjects.insert(erased.subject_ref, erasure.position);
        }
    }
}
