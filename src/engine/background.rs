//! What a process does for its loaded engines unasked: follow other replicas, close steps whose
//! deadline has passed, unload what is idle.

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use super::{Engine, Engines};
use crate::{
    domain::{
        command::AbandonCause,
        ids::{EngineId, Micros, Position},
    },
    lifecycle::Tasks,
    store::Head,
};

/// Shortest and longest pause between two looks at the heads of the loaded engines.
const POLL_MIN: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(1);

/// Pause between two looks for expired steps and idle engines.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// Such pauses between two removals of expired idempotency keys: a minute.
const PURGE_ROUNDS: u32 = 120;

impl Engines {
    /// Starts following (where other processes may write the log) and housekeeping.
    pub fn start_background(&self) {
        if !self.parts().store.has_one_owner() {
            let engines = self.clone();
            self.tasks().spawn("follower", async move { engines.follow().await });
        }
        if let Some(pace) = self.settings().audit {
            let engines = self.clone();
            self.tasks().spawn("auditor", async move { engines.audit(pace).await });
        }
        let engines = self.clone();
        self.tasks().spawn("housekeeping", async move { engines.keep_house().await });
    }

    async fn follow(&self) {
        let mut pause = POLL_MIN;
        let mut seen_before = HashMap::new();
        while stays(self.tasks(), pause).await {
            let ids: Vec<EngineId> =
                self.in_memory().iter().map(|engine| engine.id().clone()).collect();
            if ids.is_empty() {
                pause = POLL_MAX;
                continue;
            }
            match self.parts().store.heads(&ids).await {
                Ok(heads) => {
                    let moved = self.catch_up(&heads, &mut seen_before);
                    pause = if moved { POLL_MIN } else { (pause * 2).min(POLL_MAX) };
                }
                Err(error) => {
                    tracing::warn!(%error, "the heads of the logs could not be read");
                    pause = POLL_MAX;
                }
            }
        }
    }

    /// Has the engines fold that are behind; says whether any of them gets on.
    fn catch_up(
        &self,
        heads: &[(EngineId, Head)],
        seen_before: &mut HashMap<EngineId, Position>,
    ) -> bool {
        let mut moved = false;
        let mut behind = HashMap::new();
        for engine in self.in_memory() {
            let head = heads.iter().find(|(id, _)| id == engine.id());
            let seen = engine.view().state.position;
            if head.is_some_and(|(_, head)| head.position > seen) {
                engine.catch_up();
                // one that is stuck before a damaged row must not keep us busy
                moved |= seen_before.get(engine.id()) != Some(&seen);
                behind.insert(engine.id().clone(), seen);
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
            self.close_expired().await;
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
            tracing::warn!(%error, "expired idempotency keys could not be removed");
        }
    }

    /// Closes steps whose deadline has passed. The log's clock has the last word.
    pub async fn close_expired(&self) {
        let now = self.parts().store.local_time();
        for engine in self.in_memory() {
            let expired: Vec<u64> = engine.view().state.expired(now).collect();
            for step in expired {
                if let Err(error) = engine.abandon(step, AbandonCause::Deadline).await {
                    tracing::warn!(engine = %engine.id(), step, %error, "a step could not be closed");
                    break;
                }
            }
        }
    }

    /// Unloads engines unused for too long and, while all together take too much, the least
    /// recently used. Those with a running step stay, and those with an open one: somebody has to
    /// close it. One that is shut down stays until it is resumed, here or by another replica: its
    /// metrics would go on telling of the shutdown if nobody followed its log.
    pub fn unload_idle(&self) {
        self.forget_cancelled();
        let mut engines = self.in_memory();
        engines.sort_by_key(|engine| Reverse(engine.used_at()));
        let long_ago =
            crate::clock::now_micros() - self.settings().idle_evict.as_micros() as Micros;
        let mut bytes = 0;
        for engine in engines {
            let size = engine.view().state.lattice.bytes();
            let surplus = bytes > 0 && bytes + size > self.settings().memory_budget;
            let wanted = (surplus || engine.used_at() < long_ago) && engine.is_idle();
            if wanted && self.unload(&engine) {
                tracing::info!(engine = %engine.id(), bytes = size, "engine unloaded");
            } else {
                bytes += size;
            }
        }
    }
}

impl Engine {
    fn is_idle(self: &Arc<Self>) -> bool {
        let view = self.view();
        !self.is_busy() && view.state.open.is_empty() && view.state.shutdown.is_none()
    }
}

/// Waits; false when the server stops.
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
        domain::ids::{CommandId, Sha256},
        store::{Record, chain},
        testkit::app::TestApp,
    };

    /// Appends an event of a type from the future.
    async fn append_unknown(app: &TestApp, engine: &EngineId) {
        let mut append = app.engines.parts().store.begin(engine).await.unwrap();
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
        };
        record.leaf_hash = chain::leaf(engine, &record);
        record.chain_hash = chain::link(append.head.chain_hash, record.position, record.leaf_hash);
        append.insert(&[record]).await.unwrap();
        append.commit().await.unwrap();
    }

    #[tokio::test]
    async fn an_engine_stuck_before_a_damaged_row_does_not_keep_us_busy() {
        let app = TestApp::sqlite().await;
        let engine = app.engine().await;
        append_unknown(&app, engine.id()).await;
        let heads = app.engines.parts().store.heads(&[engine.id().clone()]).await.unwrap();
        let mut seen_before = HashMap::new();
        assert!(app.engines.catch_up(&heads, &mut seen_before), "it may get on");
        for _ in 0..3 {
            assert!(!app.engines.catch_up(&heads, &mut seen_before), "it does not");
        }
    }
}
