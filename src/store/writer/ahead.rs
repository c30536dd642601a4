//! What is done for the next batch while one is written: its transaction is begun, and what waits for
//! it is decided.
//!
//! The transaction is begun while the events before it are inserted, and waits in the database for the
//! lock that their commit frees (SQLite has one connection that writes: there it waits for that).
//!
//! The database needs some time for a commit, and the next commands can be decided meanwhile on the
//! state that this commit will leave. Nothing of it counts until the next transaction holds the lock
//! and finds that very state's event as the newest of the log: after a commit that failed, or an
//! event of another replica, it is thrown away and the commands are decided again.
//!
//! Not decided ahead is what must be looked for in the database under the lock: a new data subject, an
//! idempotency key. What came after such a command waits with it, so that the order stays.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either, ready, select},
};
use tokio::task::yield_now;

use super::{Task, batch::Failed, plan::Plan, proposal::Pending};
use crate::{
    domain::{
        ids::{CommandId, Micros, Position, Sha256},
        state::State,
    },
    store::{Append, StoreError},
};

/// A transaction that is on its way.
pub(super) type Begun = BoxFuture<'static, Result<Append, StoreError>>;

/// Commands decided before the task looks again whether the database has answered.
const WITHOUT_A_LOOK: usize = 16;

/// Commands decided before their turn.
pub(super) struct Ahead {
    /// The event after which they were decided.
    after: (Position, Sha256),
    /// Which, in the order in which they wait.
    commands: Vec<CommandId>,
    /// What they write.
    plan: Plan,
    /// The state that it leaves.
    state: State,
}

impl Task {
    /// Begins the transaction of what waits already: its way to the database, and the wait for the
    /// lock, pass while this batch is inserted and made durable. Only for a command, which will use
    /// it: an idle writer that held the engine's row would stop all others.
    pub(super) fn begin_next(&mut self) {
        self.take_in();
        if self.begun.is_none() && !self.carried.is_empty() {
            let (store, engine) = (self.store.clone(), self.engine.clone());
            self.begun = Some(async move { store.begin(&engine).await }.boxed());
        }
    }

    /// The transaction that is on its way, or a new one: that one may have waited too long for us,
    /// or for a connection that we have given back by now.
    pub(super) async fn begin_or_begun(&mut self) -> Result<Append, StoreError> {
        match self.begun.take() {
            Some(begun) => match begun.await {
                Ok(append) => Ok(append),
                Err(StoreError::Serialization(why)) => Err(StoreError::Serialization(why)),
                Err(_) => self.store.begin(&self.engine).await,
            },
            None => self.store.begin(&self.engine).await,
        }
    }

    /// Decides the first of those that wait, as many as need nothing of the database, as of `now`;
    /// no more of them once the batch before is `durable`, since its callers wait for their answers.
    pub(super) async fn decide_ahead(&mut self, now: Micros, durable: &AtomicBool) {
        self.take_in();
        if self.carried.is_empty() {
            return;
        }
        let count = self.fitting();
        let waiting = std::mem::take(&mut self.carried);
        let before = self.folder.state.clone();
        let plan = self.decide_alone(waiting.iter().take(count), now, durable).await;
        let left = std::mem::replace(&mut self.folder.state, before);
        // a defect shows again when it is this command's turn, and is answered then
        if let (Ok(plan), Some(state)) = (plan, left) {
            let decided = waiting.iter().take(plan.outcomes.len());
            self.ahead = Some(Ahead {
                after: (self.folder.position(), self.folder.chain_hash),
                commands: decided.map(|pending| pending.proposal.command_id).collect(),
                plan,
                state,
            });
        }
        self.carried = waiting;
    }

    async fn decide_alone<'p>(
        &mut self,
        waiting: impl Iterator<Item = &'p Pending>,
        now: Micros,
        durable: &AtomicBool,
    ) -> Result<Plan, Failed> {
        let mut plan = Plan::at(now);
        for (index, Pending { proposal, .. }) in waiting.enumerate() {
            if index % WITHOUT_A_LOOK == WITHOUT_A_LOOK - 1 {
                yield_now().await;
                if durable.load(Ordering::Relaxed) {
                    break;
                }
            }
            if plan.records.len() >= self.limits.batch_events || !proposal.stands_alone() {
                break;
            }
            let outcome = self.decide_one(proposal, &mut plan)?;
            plan.outcomes.push(outcome);
        }
        Ok(plan)
    }

    /// What of a batch is decided already, with its state put in place; nothing, as of now, if it was
    /// decided on another state than the one that holds.
    pub(super) fn adopt(
        &mut self,
        ahead: Option<Ahead>,
        append: &Append,
        batch: &[Pending],
    ) -> Plan {
        let head = &append.head;
        let holds = |ahead: &Ahead| {
            let ids = batch.iter().map(|pending| pending.proposal.command_id);
            ahead.after == (head.position, head.chain_hash)
                && ids.take(ahead.commands.len()).eq(ahead.commands.iter().copied())
        };
        let Some(ahead) = ahead.filter(holds) else { return Plan::at(append.now) };
        self.folder.state = Some(ahead.state);
        ahead.plan
    }
}

/// Waits for what is done in one transaction while the next one begins beside it.
pub(super) async fn beside<T>(work: BoxFuture<'_, T>, next: &mut Option<Begun>) -> T {
    let Some(begun) = next.take() else { return work.await };
    match select(work, begun).await {
        Either::Left((done, begun)) => {
            *next = Some(begun);
            done
        }
        Either::Right((begun, work)) => {
            *next = Some(ready(begun).boxed());
            work.await
        }
    }
}
