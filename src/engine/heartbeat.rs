//! The heartbeat of this process, and what it learns from those of the others: the log format and the
//! rules that all of them know, and the processes that are gone, whose open steps it closes.

mod peers;

use std::{fs, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use self::peers::Peers;
use super::{Engine, Engines, abandon::abandon_each};
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

/// Pause after a heartbeat that failed. Short, because after 30 s without a heartbeat the others close
/// this process's steps.
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

/// Writes the heartbeats of this process.
pub struct HeartbeatTask {
    engines: Engines,
    own: Heartbeat,
    peers: Peers,
    /// One task at a time closes steps of processes that are gone.
    closing: Arc<Semaphore>,
}

impl HeartbeatTask {
    /// The task of a process that has written no heartbeat yet.
    pub fn new(engines: &Engines) -> Self {
        let host = fs::read_to_string(HOSTNAME).unwrap_or_default();
        let own = Heartbeat {
            replica: engines.parts().replica,
            host: host.trim().chars().take(HOST_MAX).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log_format: LOG_FORMAT,
            rules: Rules::NEWEST.version(),
        };
        Self {
            engines: engines.clone(),
            own,
            peers: Peers::default(),
            closing: Arc::new(Semaphore::new(1)),
        }
    }

    /// Writes heartbeats until all other tasks of the process have ended, because other processes close the
    /// steps of one without a heartbeat. Then removes the row.
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

    /// Writes one heartbeat, reads those of the others, and starts to close the open steps of processes
    /// that are gone. Returns false if the database did not take the heartbeat.
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
        self.close_steps(engines);
        true
    }

    /// Closes the open steps of processes that are gone, in a task of its own: a heartbeat must not wait
    /// for the writer of an engine.
    fn close_steps(&self, engines: Vec<Arc<Engine>>) {
        let gone_of = |engine: Arc<Engine>| {
            let steps: Vec<_> = open_steps(&engine)
                .into_iter()
                .filter(|(_, replica)| *replica != self.own.replica)
                .filter_map(|(step, id)| Some((step, self.peers.silent_for(id, GONE_AFTER)?)))
                .collect();
            (!steps.is_empty()).then_some((engine, steps))
        };
        let gone: Vec<_> = engines.into_iter().filter_map(gone_of).collect();
        if gone.is_empty() {
            return;
        }
        let Ok(turn) = Arc::clone(&self.closing).try_acquire_owned() else { return };
        self.engines.tasks().spawn("gone replicas", async move {
            for (engine, steps) in gone {
                close_steps_of(&engine, steps).await;
            }
            drop(turn);
        });
    }
}

/// Closes steps whose process was silent for so long. The writer checks that again by the clock of the
/// log.
async fn close_steps_of(engine: &Engine, steps: Vec<(StepNumber, Micros)>) {
    let now = engine.log_time();
    let gone = steps.into_iter().map(|(step, silence)| {
        (step, AbandonCause::ReplicaGone { last_seen: now.saturating_sub(silence) })
    });
    abandon_each(engine, gone).await;
}
