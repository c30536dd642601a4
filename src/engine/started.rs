//! The fact that a process has begun to serve, in the server's own log.

use std::{collections::HashSet, time::Duration};

use super::{Engine, EngineError, Engines, background::stays};
use crate::{
    domain::{
        event::{Event, Fact, ServerStarted},
        ids::{EngineId, Micros, ReplicaId},
    },
    store::{Record, codec},
};

/// Minimum time between two such events of one host, so that a process that ends again and again does
/// not fill the log.
const HOST_INTERVAL: Micros = 60_000_000;

/// Events of the server's own log that are searched for earlier starts.
const SEARCHED: u32 = 1_000;

/// Pause after a failed attempt.
const RETRY: Duration = Duration::from_secs(30);

/// The result of an attempt to record a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRecord {
    /// The log has the event.
    Recorded,
    /// Another process of this host began to serve; it can be recorded after this time.
    After(Duration),
    /// The log's format has no such event.
    OlderFormat,
}

impl Engines {
    /// Records the start of this process, with retries until it succeeds or the server stops.
    pub async fn keep_recording_start(&self, started: ServerStarted) {
        loop {
            let pause = match self.record_start(&started).await {
                Ok(StartRecord::Recorded) => return,
                Ok(StartRecord::After(pause)) => pause,
                Ok(StartRecord::OlderFormat) => RETRY,
                Err(error) => {
                    tracing::warn!(%error, "could not record the start of this server; it will be tried again");
                    RETRY
                }
            };
            if !stays(self.tasks(), pause).await {
                return;
            }
        }
    }

    /// Records the start of this process, unless the log has it already or another process of this host
    /// began to serve within the last minute.
    pub async fn record_start(&self, started: &ServerStarted) -> Result<StartRecord, EngineError> {
        let Some(system) = self.loaded_engine(&EngineId::system()) else {
            return Ok(StartRecord::After(RETRY));
        };
        let fact = Fact::ServerStarted(started.clone());
        if system.view().state.log_format < fact.format() {
            return Ok(StartRecord::OlderFormat);
        }
        let now = system.log_time();
        let earlier = self.recent_starts(&system, now).await?;
        if earlier.iter().any(|(replica, _)| *replica == started.replica) {
            return Ok(StartRecord::Recorded);
        }
        let elsewhere = self.on_other_hosts(started.replica).await?;
        let here = earlier.iter().filter(|(replica, _)| !elsewhere.contains(replica));
        if let Some(last) = here.map(|(_, at)| *at).max() {
            let wait = last.saturating_add(HOST_INTERVAL).saturating_sub(now).max(1);
            return Ok(StartRecord::After(Duration::from_micros(wait.unsigned_abs())));
        }
        system.record_fact(fact).await?;
        Ok(StartRecord::Recorded)
    }

    /// The processes that began to serve within the interval, with the times of their events.
    async fn recent_starts(
        &self,
        system: &Engine,
        now: Micros,
    ) -> Result<Vec<(ReplicaId, Micros)>, EngineError> {
        let after = system.view().state.position.saturating_sub(u64::from(SEARCHED));
        let rows = self.parts().store.read(&EngineId::system(), after, SEARCHED).await?;
        let start = |record: &Record| {
            let event = codec::decode(&record.kind, record.schema_version, &record.payload).ok()?;
            let Event::Fact(fact) = event else { return None };
            let Fact::ServerStarted(started) = *fact else { return None };
            Some((started.replica, record.recorded_at))
        };
        // rows after the folded ones are not known to be authentic
        let folded = system.view().state.position;
        let since = now.saturating_sub(HOST_INTERVAL);
        let recent = rows.iter().filter(|row| row.position <= folded && row.recorded_at > since);
        Ok(recent.filter_map(start).collect())
    }

    /// The processes with a heartbeat on other hosts. The host of any other process is unknown.
    async fn on_other_hosts(&self, own: ReplicaId) -> Result<HashSet<ReplicaId>, EngineError> {
        let replicas = self.parts().store.replicas().await?;
        let host_of = |replica| {
            let mut rows = replicas.rows.iter();
            rows.find(|row| row.heartbeat.replica == replica).map(|row| &row.heartbeat.host)
        };
        let Some(host) = host_of(own) else { return Ok(HashSet::new()) };
        let others = replicas.rows.iter().filter(|row| row.heartbeat.host != *host);
        Ok(others.map(|row| row.heartbeat.replica).collect())
    }
}

#[cfg(test)]
mod tests;
