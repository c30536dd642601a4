//! Periodic work of a process on its engines: following the logs, abandoning steps whose
//! deadline is over, unloading idle engines, removing expired idempotency keys.

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{Engine, Engines, abandon::abandon_expired, heartbeat::HeartbeatTask};
use crate::{
    domain::ids::{EngineId, Micros, Position, Sha256},
    lifecycle::Tasks,
    store::Head,
};

/// Minimum and maximum interval between two polls of the heads of the loaded engines.
const POLL_MIN: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(1);

/// Interval between two checks for expired steps and idle engines.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// Interval between two checks of the idle connections to the database.
const CONNECTION_CHECK: Duration = Duration::from_secs(10);

/// Rounds of housekeeping from one removal of expired idempotency keys to the next: a minute.
const PURGE_ROUNDS: u32 = 120;

impl Engines {
    /// Starts the background tasks: the heartbeat, housekeeping, the follower, and the audit if it is
    /// enabled.
    pub fn start_background(&self) {
        self.tasks()
            .spawn_last("heartbeat", HeartbeatTask::new(self).run(self.tasks().stop().clone()));
        let engines = self.clone();
        self.until_stop("follower", async move { engines.follow().await });
        if let Some(pace) = self.settings().audit {
            let engines = self.clone();
            self.until_stop("auditor", async move { engines.audit(pace).await });
        }
        let engines = self.clone();
        self.tasks().spawn("refusals", async move { engines.keep_recording_refusals().await });
        let engines = self.clone();
        self.until_stop("housekeeping", async move { engines.keep_house().await });
        if !self.parts().store.has_one_owner() {
            let engines = self.clone();
            self.until_stop("connections", async move { engines.check_connections().await });
        }
    }

    /// Runs a task that is dropped at the soft stop: it may be waiting for a database that is silent, and
    /// the stop must not wait for it.
    fn until_stop(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks().stop().clone();
        self.tasks().spawn(name, async move {
            tokio::select! {
                () = task => {}
                () = stop.soft() => {}
            }
        });
    }

    async fn check_connections(&self) {
        while stays(self.tasks(), CONNECTION_CHECK).await {
            self.parts().store.check_idle_connections().await;
        }
    }

    /// Compares the heads of the logs with the loaded engines: other replicas may have appended events, and
    /// somebody may have removed some. A log with one owner grows by this process only, so there a slow
    /// poll is enough.
    async fn follow(&self) {
        let least = if self.parts().store.has_one_owner() { POLL_MAX } else { POLL_MIN };
        let mut pause = least;
        let mut seen_before = HashMap::new();
        while stays(self.tasks(), pause).await {
            // before the query: the heads are then at least as new, unless events were removed
            let seen = self.seen();
            if seen.is_empty() {
                pause = POLL_MAX;
                continue;
            }
            let ids: Vec<EngineId> = seen.keys().cloned().collect();
            match self.parts().store.heads(&ids).await {
                Ok(heads) => {
                    let moved = self.catch_up(&seen, &heads, &mut seen_before);
                    pause = if moved { least } else { (pause * 2).min(POLL_MAX) };
                }
                Err(error) => {
                    tracing::warn!(%error, "could not read the heads of the logs");
                    pause = POLL_MAX;
                }
            }
        }
    }

    /// The newest published event of each loaded engine.
    fn seen(&self) -> HashMap<EngineId, (Position, Sha256)> {
        let head = |engine: &Arc<Engine>| {
            let view = engine.view();
            (engine.id().clone(), (view.state.position, view.chain_hash))
        };
        self.in_memory().iter().map(head).collect()
    }

    /// Asks the engines whose logs end with another event than seen, and those that are untrusted, to fold
    /// on. Returns true if any engine that lagged has made progress since the last call.
    fn catch_up(
        &self,
        seen: &HashMap<EngineId, (Position, Sha256)>,
        heads: &[(EngineId, Head)],
        seen_before: &mut HashMap<EngineId, Position>,
    ) -> bool {
        let mut moved = false;
        let mut behind = HashMap::new();
        for engine in self.in_memory() {
            let Some(seen) = seen.get(engine.id()) else { continue };
            let head = heads.iter().find(|(id, _)| id == engine.id()).map(|(_, head)| head);
            if !head.is_some_and(|head| head.is_at(*seen)) || engine.damage().is_some() {
                engine.catch_up();
            }
            if head.is_some_and(|head| head.position > seen.0) {
                // an engine that is stuck before a damaged row makes no progress
                moved |= seen_before.get(engine.id()) != Some(&seen.0);
                behind.insert(engine.id().clone(), seen.0);
            }
        }
        *seen_before = behind;
        moved
    }

    async fn keep_house(&self) {
        for round in 1_u32.. {
            if !stays(self.tasks(), HOUSEKEEPING).await {
                return;
            }
            // the store reports the change; writes and the readiness probe fail
            self.parts().store.check_files().ok();
            self.abandon_expired().await;
            self.unload_idle();
            if round % PURGE_ROUNDS == 0 {
                self.purge_idempotency().await;
            }
        }
    }

    /// Removes idempotency keys that have expired.
    async fn purge_idempotency(&self) {
        let store = &self.parts().store;
        if let Err(error) = store.purge_idempotency(store.local_time()).await {
            tracing::warn!(%error, "could not remove expired idempotency keys");
        }
    }

    /// Abandons steps whose deadline is over. The writer checks that again by the clock of the log.
    pub async fn abandon_expired(&self) {
        // together: one engine whose writer waits must not keep the others from it
        let engines = self.in_memory();
        join_all(engines.iter().map(|engine| abandon_expired(engine))).await;
    }

    /// Unloads engines that have not been used for the configured time and, while the memory budget is
    /// exceeded, the least recently used ones. Engines with running or open steps stay loaded, and so
    /// do engines that are shut down.
    pub fn unload_idle(&self) {
        self.forget_failed();
        let mut engines = self.in_memory();
        engines.sort_by_key(|engine| Reverse(engine.used_at()));
        let expired = crate::clock::now_micros() - self.settings().idle_evict.as_micros() as Micros;
        let mut bytes = 0;
        for engine in engines {
            let size = engine.view().state.lattice.bytes();
            let over_budget = bytes > 0 && bytes + size > self.settings().memory_budget;
            let wanted = (over_budget || engine.used_at() < expired) && engine.is_idle();
            if wanted && self.unload(&engine) {
                tracing::info!(engine = %engine.id(), bytes = size, "engine unloaded");
            } else {
                bytes += size;
            }
        }
    }
}

/// Waits for `pause`. Returns false if the server stops.
pub(super) async fn stays(tasks: &Tasks, pause: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = tasks.stop().soft() => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::ids::CommandId,
        engine::Parts,
        store::{Record, chain},
        testkit::app::TestApp,
    };

    /// Appends an event of a type that this version does not know.
    async fn append_unknown(app: &TestApp, engine: &EngineId) {
        let Parts { store, content_key, .. } = app.engines.parts();
        let key = store.mac_key(content_key).await.unwrap();
        let mut append = store.begin(engine).await.unwrap();
        let mut record = Record {
            position: append.head.position + 1,
            command_id: CommandId::new(1),
            kind: "step.dreamt".to_owned(),
            schema_version: 1,
            decide_version: 1,
            recorded_at: append.now,
            step: None,
            request_id: None,
            actor: None,
            subject_ref: None,
            trace_id: None,
            payload: b"{}".to_vec(),
            content_hash: None,
            leaf_hash: Sha256::default(),
            chain_hash: Sha256::default(),
            mac: None,
        };
        chain::extend(engine, append.head.chain_hash, Some(&key), &mut record);
        append.insert_events(&[record]).await.unwrap();
        append.commit().await.unwrap();
    }

    #[tokio::test]
    async fn an_engine_stuck_before_a_damaged_row_makes_no_progress() {
        let app = TestApp::sqlite().await;
        let engine = app.engine().await;
        append_unknown(&app, engine.id()).await;
        let heads = app.engines.parts().store.heads(&[engine.id().clone()]).await.unwrap();
        let seen = app.engines.seen();
        let mut seen_before = HashMap::new();
        assert!(
            app.engines.catch_up(&seen, &heads, &mut seen_before),
            "the first call cannot know that it is stuck"
        );
        for _ in 0..3 {
            assert!(!app.engines.catch_up(&seen, &heads, &mut seen_before), "it made no progress");
        }
    }
}
