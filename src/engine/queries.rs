//! The queries on an engine: its state, now or in the past, and its events.

use std::sync::PoisonError;

use super::{Engine, EngineError, EventFilter, EventPage, EventReport, PAGE_MAX, StateReport};
use crate::{
    domain::{
        digest,
        ids::{Micros, Position, Sha256, SubjectRef},
        state::State,
    },
    store::{StoreError, replay, writer::View},
};

/// Maximum number of positions that are examined for one page. A filter that selects few events
/// gives short pages with a `next`.
const EXAMINED_MAX: usize = 20_000;

/// Rows per read.
const READ: u32 = 1_000;

impl Engine {
    /// The newest state that this replica has folded, with threshold and budget of the caller.
    pub async fn state(&self, caller: &str) -> Result<StateReport, EngineError> {
        let view = self.view();
        let caller = pseudonym(self, caller).await?;
        let digest = cached_digest(self, &view.state);
        let now = self.log_time().max(view.state.recorded_at);
        Ok(StateReport::new(self, &view, digest, caller, now))
    }

    /// The state after a position, folded from the log.
    pub async fn state_at(
        &self,
        position: Position,
        caller: &str,
    ) -> Result<StateReport, EngineError> {
        let head = self.view().state.position;
        if position == 0 || position > head {
            return Err(EngineError::Beyond { position, head });
        }
        let caller = pseudonym(self, caller).await?;
        // the semaphore is never closed
        let _permit = self.replays.acquire().await.ok();
        let (store, key) = (&self.parts.store, &self.parts.content_key);
        let fold = replay::replay(store, key, &self.id, position, &mut |_| {}).await?;
        let state = fold.state.ok_or_else(|| EngineError::Empty(self.id.clone()))?;
        let digest = digest::state(&state);
        let now = state.recorded_at;
        let view = View { state, chain_hash: fold.chain_hash };
        Ok(StateReport::new(self, &view, digest, caller, now))
    }

    /// The state after the last event that was recorded at or before a time.
    pub async fn state_at_time(
        &self,
        time: Micros,
        caller: &str,
    ) -> Result<StateReport, EngineError> {
        let head = self.view().state.position;
        let position = self.parts.store.position_at(&self.id, head, time).await?;
        let position = position.ok_or_else(|| EngineError::Before(self.id.clone()))?;
        self.state_at(position, caller).await
    }

    /// The selected events after a position, at most `limit`.
    pub async fn events(
        &self,
        filter: &EventFilter,
        after: Position,
        limit: usize,
    ) -> Result<EventPage, EngineError> {
        let subject = match &filter.subject {
            None => None,
            Some(name) => match pseudonym(self, name).await? {
                Some(subject) => Some(subject),
                None => return Ok(EventPage { events: Vec::new(), next: None }),
            },
        };
        // events after the damage are not those of a server
        let end = self.damage().map_or(Position::MAX, |_| self.view().state.position);
        let limit = limit.min(PAGE_MAX);
        let mut page = EventPage { events: Vec::new(), next: None };
        let (mut last, mut examined) = (after, 0);
        loop {
            let rows = self.parts.store.read(&self.id, last, READ).await?;
            let at_end = rows.len() < READ as usize;
            for record in rows {
                if record.position > end {
                    return Ok(page);
                }
                if page.events.len() == limit || examined == EXAMINED_MAX {
                    page.next = Some(last);
                    return Ok(page);
                }
                if record.position != last + 1 {
                    let what = "a gap before this position";
                    return Err(StoreError::Corrupt { position: record.position, what }.into());
                }
                last = record.position;
                examined += 1;
                if filter.matches(&record, subject) {
                    page.events.push(record.try_into()?);
                }
            }
            if at_end {
                return Ok(page);
            }
        }
    }

    /// The event at a position.
    pub async fn event(&self, position: Position) -> Result<EventReport, EngineError> {
        let head = self.view().state.position;
        if position > head && self.damage().is_some() {
            return Err(EngineError::Beyond { position, head });
        }
        let record = self.parts.store.record(&self.id, position).await?;
        let record = record.ok_or(EngineError::Beyond { position, head })?;
        Ok(record.try_into()?)
    }
}

/// The pseudonym of a name, if the log contains the subject. A query never creates one.
async fn pseudonym(engine: &Engine, name: &str) -> Result<Option<SubjectRef>, EngineError> {
    Ok(engine.subjects.ref_by_name(name).await?)
}

/// The digest of a published state, computed once per position.
fn cached_digest(engine: &Engine, state: &State) -> Sha256 {
    let cached = *engine.digest.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((position, digest)) = cached
        && position == state.position
    {
        return digest;
    }
    let digest = digest::state(state);
    *engine.digest.lock().unwrap_or_else(PoisonError::into_inner) = Some((state.position, digest));
    digest
}
