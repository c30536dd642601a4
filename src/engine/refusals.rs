//! Requests that leave no step: those that are turned away before a verdict, and denied accesses.
//!
//! They are counted in memory, by log and minute of the log's clock, and recorded in the background
//! after the minute has ended: `requests.refused` in the log of the engine, `access.denied` in the
//! server's own. Each process records its own counts, so a log has at most one event per process and
//! minute. A crash loses the counts of the current minute.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::ids::{EngineId, Micros};

/// Minutes of logs that are kept while they cannot be recorded. Above it, further ones are lost.
const MINUTES_MAX: usize = 1_000;

/// A minute in microseconds.
const MINUTE: Micros = 60_000_000;

/// A log and the start of a minute.
pub(super) type LogMinute = (EngineId, Micros);

/// The number of requests by code.
pub(super) type Counts = BTreeMap<String, u64>;

/// The counts that are not recorded yet.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Unrecorded>);

#[derive(Debug, Default)]
struct Unrecorded {
    /// By log and start of the minute.
    minutes: BTreeMap<LogMinute, Counts>,
    lost: u64,
}

impl Unrecorded {
    fn add(&mut self, minute: LogMinute, code: &str, count: u64) {
        if self.minutes.len() >= MINUTES_MAX && !self.minutes.contains_key(&minute) {
            self.lost = self.lost.saturating_add(count);
            return;
        }
        let counts = self.minutes.entry(minute).or_default();
        match counts.get_mut(code) {
            Some(total) => *total = total.saturating_add(count),
            None => drop(counts.insert(code.to_owned(), count)),
        }
    }
}

impl Refusals {
    /// Counts a request at a time of the log's clock. `code` is from a closed set.
    pub(super) fn count(&self, log: EngineId, time: Micros, code: &str) {
        self.lock().add((log, minute(time)), code, 1);
    }

    fn lock(&self) -> MutexGuard<'_, Unrecorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the minutes that `is_due` selects.
    pub(super) fn take(
        &self,
        is_due: impl Fn(&EngineId, Micros) -> bool,
    ) -> Vec<(LogMinute, Counts)> {
        let mut unrecorded = self.lock();
        let due: Vec<_> = unrecorded
            .minutes
            .keys()
            .filter(|(log, minute)| is_due(log, *minute))
            .cloned()
            .collect();
        let take = |key| unrecorded.minutes.remove_entry(&key);
        due.into_iter().filter_map(take).collect()
    }

    /// Keeps a minute that could not be recorded.
    pub(super) fn put_back(&self, minute: &LogMinute, counts: &Counts) {
        let mut unrecorded = self.lock();
        for (code, count) in counts {
            unrecorded.add(minute.clone(), code, *count);
        }
    }

    /// The number of requests that were not kept since the last call.
    pub(super) fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.lock().lost)
    }
}

/// The start of the minute of a time.
pub(super) const fn minute(time: Micros) -> Micros {
    time - time.rem_euclid(MINUTE)
}
