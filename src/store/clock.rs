//! The store's clock: the time at which events are recorded and by which deadlines pass.
//!
//! It is the database's clock (on SQLite the system clock), but for each log at least the time of the
//! newest event plus the time that has passed since this process folded or wrote that event. An event
//! that was not folded moves no clock, because nothing proves that it is authentic. So after a clock was
//! set back, the log's time goes on at the speed of real time: times never decrease, and deadlines
//! still pass.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::options::{Clock, Options};
use crate::{
    clock::now_micros,
    domain::ids::{EngineId, Micros},
};

/// Maximum number of logs whose newest time is kept. Above it, the one seen least recently is dropped;
/// its time begins again at its newest event.
const LOGS_MAX: usize = 10_000;

/// The store's clock; clones share it.
#[derive(Clone)]
pub(super) struct StoreClock(Arc<Shared>);

struct Shared {
    /// `None` if the clock is the database's.
    wall: Option<Clock>,
    monotonic: Monotonic,
    seen: Mutex<HashMap<EngineId, Seen>>,
    /// The newest time of the database's clock.
    database: Mutex<Option<Seen>>,
    /// The newest heartbeat that this process wrote.
    heartbeat: Mutex<Option<Seen>>,
}

enum Monotonic {
    Since(Instant),
    Replaced(Clock),
}

/// A time, and the moment of the monotonic clock at which this process saw it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    time: Micros,
    at: Micros,
}

impl Seen {
    const fn advanced(self, moment: Micros) -> Micros {
        let passed = moment.saturating_sub(self.at);
        self.time.saturating_add(if passed > 0 { passed } else { 0 })
    }
}

impl StoreClock {
    /// The clock of a database whose own clock is used unless the options replace it.
    pub(super) fn database(options: &Options) -> Self {
        Self::new(options.clock.clone(), options)
    }

    /// The clock of a database without one.
    pub(super) fn system(options: &Options) -> Self {
        let wall = options.clock.clone().unwrap_or_else(|| Arc::new(now_micros));
        Self::new(Some(wall), options)
    }

    fn new(wall: Option<Clock>, options: &Options) -> Self {
        let monotonic = options
            .monotonic
            .clone()
            .or_else(|| options.clock.clone())
            .map_or_else(|| Monotonic::Since(Instant::now()), Monotonic::Replaced);
        Self(Arc::new(Shared {
            wall,
            monotonic,
            seen: Mutex::default(),
            database: Mutex::default(),
            heartbeat: Mutex::default(),
        }))
    }

    /// The clock that replaces the database's.
    pub(super) fn wall(&self) -> Option<Micros> {
        self.0.wall.as_ref().map(|clock| clock())
    }

    /// The time without a query: by the database's clock as this process knows it.
    pub(super) fn local(&self) -> Micros {
        let database = || *self.0.database.lock().unwrap_or_else(PoisonError::into_inner);
        self.wall().or_else(|| database().map(|seen| self.since(seen))).unwrap_or_else(now_micros)
    }

    /// Notes the time of the database's clock, received just now.
    pub(super) fn saw_database(&self, time: Option<Micros>) {
        if let Some(time) = time {
            let news = Some(self.seen_now(time));
            *self.0.database.lock().unwrap_or_else(PoisonError::into_inner) = news;
        }
    }

    /// Microseconds since any fixed moment; never decreases.
    pub(super) fn monotonic(&self) -> Micros {
        match &self.0.monotonic {
            Monotonic::Since(start) => {
                Micros::try_from(start.elapsed().as_micros()).unwrap_or(Micros::MAX)
            }
            Monotonic::Replaced(clock) => clock(),
        }
    }

    /// This time, seen now.
    pub(super) fn seen_now(&self, time: Micros) -> Seen {
        Seen { time, at: self.monotonic() }
    }

    /// A time that was seen, plus the time since.
    pub(super) fn since(&self, seen: Seen) -> Micros {
        seen.advanced(self.monotonic())
    }

    /// Notes that an event of this time was folded, or written by this process.
    pub(super) fn saw(&self, engine: &EngineId, recorded_at: Micros) {
        let news = self.seen_now(recorded_at);
        let mut logs = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = logs.get_mut(engine) {
            if known.advanced(news.at) < recorded_at {
                *known = news;
            }
            return;
        }
        if logs.len() >= LOGS_MAX {
            let oldest = logs.iter().min_by_key(|(_, seen)| seen.at);
            let oldest = oldest.map(|(engine, _)| engine.clone());
            oldest.and_then(|engine| logs.remove(&engine));
        }
        logs.insert(engine.clone(), news);
    }

    /// The time of a log by this process, without a query.
    pub(super) fn of_log(&self, engine: &EngineId) -> Micros {
        let local = self.local();
        self.of_events(engine).map_or(local, |newest| local.max(newest))
    }

    /// The time of the newest known event of a log plus the time since.
    fn of_events(&self, engine: &EngineId) -> Option<Micros> {
        let logs = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        logs.get(engine).map(|seen| self.since(*seen))
    }

    /// Notes the time of a heartbeat of this process.
    pub(super) fn wrote_heartbeat(&self, time: Micros) {
        let news = Some(self.seen_now(time));
        *self.0.heartbeat.lock().unwrap_or_else(PoisonError::into_inner) = news;
    }

    /// The time of this process's newest heartbeat plus the time since.
    pub(super) fn heartbeat(&self) -> Option<Micros> {
        let newest = *self.0.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
        newest.map(|newest| self.since(newest))
    }

    /// The clock of a log whose newest event has this time; `database` is the time of the database's
    /// clock, received just now.
    pub(super) fn of_head(
        &self,
        engine: &EngineId,
        database: Option<Micros>,
        recorded_at: Micros,
    ) -> LogClock {
        let known = self.of_events(engine).unwrap_or(Micros::MIN);
        let newest = self.seen_now(recorded_at.max(known));
        self.saw_database(database);
        let database = self.seen_now(database.unwrap_or_default());
        LogClock { store: self.clone(), database, newest }
    }
}

/// The clock of one log.
#[derive(Clone)]
pub struct LogClock {
    store: StoreClock,
    /// The time of the database's clock.
    database: Seen,
    /// The newest time in the log.
    newest: Seen,
}

impl LogClock {
    /// The log's time, without a request to the database.
    pub fn now(&self) -> Micros {
        let now = self.store.wall().unwrap_or_else(|| self.store.since(self.database));
        now.max(self.store.since(self.newest))
    }

    /// Notes that an event of this time is in the log.
    pub(super) fn saw(&self, engine: &EngineId, recorded_at: Micros) {
        self.store.saw(engine, recorded_at);
    }
}

#[cfg(test)]
mod tests;
