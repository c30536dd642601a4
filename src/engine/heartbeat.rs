//! The heartbeat of this process, and what it learns from those of the others: the log format and the
//! rules that all of them know.

use std::{fs, time::Duration};

use super::Engines;
use crate::{
    domain::{decide::REPLICA_GONE_AFTER, event::LOG_FORMAT, ids::Micros, rules::Rules},
    lifecycle::Stop,
    store::replicas::{HEARTBEAT, Heartbeat},
};

/// Time without a heartbeat after which a process is gone.
pub const GONE_AFTER: Micros = REPLICA_GONE_AFTER;

/// Pause after a heartbeat that failed. Short, because the others count the silence.
const RETRY: Duration = Duration::from_secs(1);

/// Linux's name of this host.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Maximum length of a host name in characters.
const HOST_MAX: usize = 255;

/// The heart of this process.
pub struct Heart {
    engines: Engines,
    own: Heartbeat,
}

impl Heart {
    /// The heart of a process that has written no heartbeat yet.
    pub fn new(engines: &Engines) -> Self {
        let host = fs::read_to_string(HOSTNAME).unwrap_or_default();
        let own = Heartbeat {
            replica: engines.parts().replica,
            host: host.trim().chars().take(HOST_MAX).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log_format: LOG_FORMAT,
            rules: Rules::NEWEST.version(),
        };
        Self { engines: engines.clone(), own }
    }

    /// Beats until all other tasks of the process have ended, because the others close the steps of a
    /// process without a heartbeat. Then removes the row.
    pub(super) async fn run(self, stop: Stop) {
        loop {
            let pause = if self.beat().await { HEARTBEAT } else { RETRY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.ended() => break,
            }
        }
        if let Err(error) = self.engines.parts().store.remove_replica(self.own.replica).await {
            tracing::warn!(%error, "could not remove the heartbeat of this process");
        }
    }

    /// Writes one heartbeat and reads those of the others. Returns false if the database did not take
    /// it.
    pub async fn beat(&self) -> bool {
        let store = &self.engines.parts().store;
        let replicas = match store.heartbeat(&self.own).await {
            Ok(replicas) => replicas,
            Err(error) => {
                tracing::warn!(%error, "could not write the heartbeat of this process");
                return false;
            }
        };
        store.set_fleet(replicas.fleet(&self.own, GONE_AFTER));
        true
    }
}
