//! The heartbeat of this process, and what it learns from those of the others: the log format and the
//! rules that all of them know, and the processes that are gone, whose open steps it closes.

mod peers;

use std::{fs, time::Duration};

use self::peers::Peers;
use super::{Engine, Engines};
use crate::{
    domain::{
        command::AbandonCause,
        decide::REPLICA_GONE_AFTER,
        event::LOG_FORMAT,
        ids::{Micros, ReplicaId, StepNumber},
        rules::Rules,
    },
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

/// The open steps of an engine whose process is known.
fn open_steps(engine: &Engine) -> Vec<(StepNumber, ReplicaId)> {
    let view = engine.view();
    let open = view.state.open.iter();
    open.filter_map(|(step, open)| Some((*step, open.replica?))).collect()
}

/// The heart of this process.
pub struct Heart {
    engines: Engines,
    own: Heartbeat,
    peers: Peers,
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
        Self { engines: engines.clone(), own, peers: Peers::default() }
    }

    /// Beats until all other tasks of the process have ended, because the others close the steps of a
    /// process without a heartbeat. Then removes the row.
    pub(super) async fn run(mut self, stop: Stop) {
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

    /// Writes one heartbeat, reads those of the others, and closes the open steps of processes that are
    /// gone. Returns false if the database did not take the heartbeat.
    pub async fn beat(&mut self) -> bool {
        let store = &self.engines.parts().store;
        let replicas = match store.heartbeat(&self.own).await {
            Ok(replicas) => replicas,
            Err(error) => {
                tracing::warn!(%error, "could not write the heartbeat of this process");
                return false;
            }
        };
        store.set_fleet(replicas.fleet(&self.own, GONE_AFTER));
        let engines = self.engines.in_memory();
        let named = engines.iter().flat_map(|engine| open_steps(engine));
        self.peers.observe(&replicas, named.map(|(_, replica)| replica), store.monotonic());
        for engine in &engines {
            self.close_steps(engine).await;
        }
        true
    }

    /// Closes the open steps of processes that are gone. The writer checks that again by the clock of the
    /// log.
    async fn close_steps(&self, engine: &Engine) {
        for (step, replica) in open_steps(engine) {
            if replica == self.own.replica {
                continue;
            }
            let Some(silence) = self.peers.silent_for(replica, GONE_AFTER) else { continue };
            let last_seen = engine.log_time().saturating_sub(silence);
            let gone = AbandonCause::ReplicaGone { last_seen };
            if let Err(error) = engine.abandon(step, gone).await {
                tracing::warn!(engine = %engine.id(), step, %replica, %error, "could not close the step of a replica that is gone");
                return;
            }
        }
    }
}
