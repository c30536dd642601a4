//! Verifies a log from its stored bytes: all leaves, the chain, all contents rows, and with the
//! content key the MACs.
//!
//! Detects any edit, swap, insertion or deletion in events and contents, except truncation at the newest
//! end, which requires a chain hash kept outside of the database. Without the content key, and in a log
//! of format 1, it does not detect a forged event at the newest end and a consistent rewrite of the
//! whole log either. Memory is bounded by one page and the number of erasures. Events appended during
//! the verification are verified up to the last page read.

mod authenticity;
mod erasures;
mod finding;

use super::{
    Content, Record, Store, StoreError,
    chain::{content_hash, genesis, leaf, link},
    keys::ContentKey,
};
use crate::domain::ids::{EngineId, Micros, Position, Sha256};
use authenticity::Authenticity;
use erasures::Erasures;
pub use finding::{Finding, Inconsistency};

/// Events per page, with their contents.
pub const AUDIT_PAGE: u32 = 128;

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

/// Verifies one engine's log, calling `progress` with the position reached after every page. MACs are
/// verified if the content key is given; that they are present is verified without it.
pub async fn verify(
    store: &Store,
    engine: &EngineId,
    content_key: Option<&ContentKey>,
    mut progress: impl FnMut(Position) + Send,
) -> Result<Report, StoreError> {
    let mut audit = Audit::new(store, engine, content_key);
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
    authenticity: Authenticity<'a>,
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
    pub fn new(
        store: &'a Store,
        engine: &'a EngineId,
        content_key: Option<&'a ContentKey>,
    ) -> Self {
        Self {
            store,
            engine,
            position: 0,
            chain_hash: genesis(engine),
            recorded_at: Micros::MIN,
            authenticity: Authenticity::new(store, engine, content_key),
            erasures: Erasures::default(),
        }
    }

    /// Verifies the next [`AUDIT_PAGE`] events. Must not be called again after [`Progress::Ended`].
    pub async fn page(&mut self) -> Result<Progress, StoreError> {
        if self.position == 0 {
            let bad = match self.store.engine(self.engine).await? {
                None => Some(Finding::NoEngine),
                Some(row) => self.authenticity.row(&row),
            };
            if let Some(what) = bad {
                return self.ended(Some(Inconsistency { position: 0, what })).await;
            }
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
        self.authenticity.read_keys(rows.iter().map(|(record, _)| record)).await?;
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
            self.authenticity.passed(record);
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
        if let Some(finding) = self.authenticity.event(record) {
            return Some(finding);
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
        if let Some(what) = self.authenticity.end(self.position).await? {
            return Ok(Some(Inconsistency { position: self.position, what }));
        }
        let stray = self.store.stray_content(self.engine).await?;
        Ok(stray.map(|position| Inconsistency { position, what: Finding::ContentStray }))
    }
}
