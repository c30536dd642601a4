//! The writer's task: takes commands out of the queue and sends them ahead of the lock, or under it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    append::AppendError,
    context::Context,
    decider::Decider,
    doubt::Doubt,
    locked::{Left, Locked, catch_up},
    pipeline::{Pipeline, Resolution},
    proposal::WriteError,
    queue::{Backlog, Message, QueuedCommand},
};
use crate::{
    domain::ids::Micros,
    store::{LogClock, metrics::EventMetrics},
};

/// The writer's side of the queue; [`Task::run`] must be running for the writer to work.
pub struct Task {
    context: Context,
    decider: Decider,
    pipeline: Pipeline,
    mode: Mode,
    backlog: Backlog,
    queue: mpsc::Receiver<Message>,
    /// The last attempt to fold the log of an untrusted engine on.
    probed: Option<Instant>,
    doubt: Doubt,
    /// Set after the database failed.
    pause: Option<Pause>,
}

/// A pause before the next attempt.
struct Pause {
    length: Duration,
    until: Instant,
}

/// The first and the longest pause between two attempts while the database is down.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Time between two attempts to fold the log of an untrusted engine on.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// The processes that write to the log, as far as this one knows.
enum Mode {
    /// The newest batch found the log as this process had left it: batches are decided ahead, at the
    /// time of the log's clock.
    Alone(LogClock),
    /// Another process may have written, or no batch has been written yet: batches are decided under the
    /// lock.
    Shared,
}

/// The event that the task waits for.
enum Next {
    Ended(Result<LogClock, AppendError>),
    Message(Message),
    Closed,
}

impl Task {
    pub(super) fn new(
        context: Context,
        decider: Decider,
        queue: mpsc::Receiver<Message>,
        backlog: Backlog,
    ) -> Self {
        let pipeline = Pipeline::new();
        let mode = Mode::Shared;
        let (probed, doubt, pause) = (None, Doubt::default(), None);
        Self { context, decider, pipeline, mode, backlog, queue, probed, doubt, pause }
    }

    /// Counts committed events in these metrics.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<EventMetrics>) -> Self {
        self.context.metrics = Some(metrics);
        self
    }

    /// Writes until every [`Writer`](super::Writer) is dropped and no command waits.
    pub async fn run(mut self) {
        loop {
            self.refuse_if_untrusted();
            self.decide_ahead();
            self.dispatch();
            self.context.stall.has_work(!self.pipeline.is_idle() || !self.backlog.is_empty());
            if self.pipeline.is_idle() && (!self.backlog.is_empty() || self.doubt.searches()) {
                if !self.paused().await {
                    return;
                }
                // boxed: each engine has this task, and most are idle
                Box::pin(self.write_locked()).await;
                self.context.stall.progressed();
                continue;
            }
            match self.next().await {
                Next::Message(Message::Propose(command)) => {
                    self.backlog.push(*command);
                    continue;
                }
                Next::Ended(Ok(clock)) => self.committed(clock),
                Next::Ended(Err(error)) => Box::pin(self.recover(error)).await,
                Next::Message(Message::CatchUp) => {
                    self.context.stall.has_work(true);
                    Box::pin(self.catch_up()).await;
                    // no progress of the batches in flight
                    continue;
                }
                Next::Closed => return,
            }
            self.context.stall.progressed();
        }
    }

    /// Refuses the backlog of an untrusted engine, but for what is to be repeated. A batch that is decided
    /// already is written, if the log still is as it expects.
    fn refuse_if_untrusted(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        if let Some(damage) = self.context.trust.damage() {
            let commands = self.backlog.take_all();
            let mut locked = Locked::new(&self.context, &mut self.decider, &mut self.doubt);
            let left = locked.give_up(commands, WriteError::Untrusted(damage));
            self.backlog.restore(left.commands);
        }
    }

    /// Waits before the next attempt if the database failed. False if nobody waits for one: only the
    /// outcome of earlier commands is unknown, and the writer ends.
    async fn paused(&mut self) -> bool {
        if let Some(Pause { until, .. }) = self.pause {
            tokio::time::sleep_until(until).await;
        }
        !self.backlog.is_empty() || !self.queue.is_closed() || !self.queue.is_empty()
    }

    async fn next(&mut self) -> Next {
        if !self.pipeline.is_in_flight() {
            return self.queue.recv().await.map_or(Next::Closed, Next::Message);
        }
        let takes = !self.at_capacity();
        tokio::select! {
            biased;
            result = self.pipeline.ended() => Next::Ended(result),
            Some(message) = self.queue.recv(), if takes => Next::Message(message),
        }
    }

    /// True if the next batch can take no further command: it is full, or a command waits to be decided
    /// after it or under the lock.
    fn at_capacity(&self) -> bool {
        !self.backlog.is_empty() || self.pipeline.is_full(&self.context)
    }

    /// Decides the backlog, as far as the next batch has room. What is left of it while the engine is
    /// untrusted is tried under the lock, where the log is folded on.
    fn decide_ahead(&mut self) {
        if self.context.trust.damage().is_some() {
            return;
        }
        while let Mode::Alone(clock) = &self.mode {
            let has_room =
                |next: &QueuedCommand| self.pipeline.has_room(&next.proposal, &self.context);
            let Some(command) = self.backlog.pop_if(has_room) else { return };
            if let Err(commands) = self.pipeline.decide(command, clock, &mut self.decider) {
                self.share(commands);
            }
        }
    }

    /// Dispatches the next batch if it is due: with nothing in flight, when no further command waits;
    /// behind another batch, when it can take no further command.
    fn dispatch(&mut self) {
        let is_alone = !self.pipeline.is_in_flight() && self.queue.is_empty();
        let is_due = is_alone || self.at_capacity();
        let dispatched = self.pipeline.dispatch(is_due, &self.context, &mut self.decider);
        if let Err(commands) = dispatched {
            self.share(commands);
        }
    }

    /// Takes back commands that must be decided under the lock.
    fn share(&mut self, commands: Vec<QueuedCommand>) {
        self.backlog.restore(commands);
        self.mode = Mode::Shared;
    }

    fn give_up_next(&mut self) {
        if let Some(commands) = self.pipeline.give_up_next(&mut self.decider) {
            self.share(commands);
        }
    }

    /// Goes on after the oldest batch in flight was committed.
    fn committed(&mut self, clock: LogClock) {
        let first = self.pipeline.pop();
        self.mode = Mode::Alone(clock);
        // the database first: it has nothing to do
        self.dispatch();
        if let Some(first) = first {
            first.complete(&self.context, &self.decider);
        }
    }

    /// Goes on after the oldest batch in flight failed: its commands, and those of the batches that were
    /// decided on it, are written under the lock.
    async fn recover(&mut self, error: AppendError) {
        match self.pipeline.resolve(error).await {
            None => {}
            Some(Resolution::Committed { batches, clock, undecided }) => {
                self.mode = Mode::Alone(clock);
                for batch in batches {
                    batch.complete(&self.context, &self.decider);
                }
                if !undecided.is_empty() {
                    self.give_up_next();
                    self.backlog.restore(undecided);
                }
            }
            Some(Resolution::Failed { before, batches }) => {
                self.give_up_next();
                self.decider.rollback(*before);
                let mut locked = Locked::new(&self.context, &mut self.decider, &mut self.doubt);
                let left = locked.write_failed(batches).await;
                let time = locked.time();
                self.resume(left, time);
            }
        }
    }

    /// Writes the backlog and the queue under the lock, within the limits of one batch.
    async fn write_locked(&mut self) {
        while self.backlog.len() < self.context.limits.batch_events {
            match self.queue.try_recv() {
                Ok(Message::Propose(command)) => self.backlog.push(*command),
                // the batch folds the tail
                Ok(Message::CatchUp) => self.context.reminded.store(false, Ordering::Release),
                Err(_) => break,
            }
        }
        let commands = if self.doubt.searches() {
            // the tail is searched once, for all of them
            self.backlog.take_all()
        } else {
            self.backlog.take_batch(&self.context.limits)
        };
        let mut locked = Locked::new(&self.context, &mut self.decider, &mut self.doubt);
        let left = locked.write(commands, 0).await;
        let time = locked.time();
        self.resume(left, time);
    }

    /// Goes on after a batch under the lock.
    fn resume(&mut self, left: Left, (clock, recorded_at): (Option<LogClock>, Option<Micros>)) {
        let is_untrusted = self.context.trust.damage().is_some();
        let fails = left.is_down || is_untrusted || self.doubt.searches();
        self.pause = fails.then(|| {
            let last = self.pause.as_ref().map(|pause| pause.length);
            let length = last.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
            Pause { length, until: Instant::now() + length }
        });
        self.backlog.restore(left.commands);
        self.mode = clock.map_or(Mode::Shared, Mode::Alone);
        if let Some(recorded_at) = recorded_at {
            self.pipeline.set_time(recorded_at);
        }
    }

    /// Folds the events of other replicas and compares the log's head; batches in flight do that by
    /// themselves.
    async fn catch_up(&mut self) {
        self.context.reminded.store(false, Ordering::Release);
        let is_untrusted = self.context.trust.damage().is_some();
        if is_untrusted && self.probed.is_some_and(|probed| probed.elapsed() < PROBE_INTERVAL) {
            return;
        }
        self.probed = is_untrusted.then(Instant::now);
        // a doubt ends with the next batch, which searches the tail
        let may_fold = self.pipeline.is_idle() && !self.doubt.searches();
        if may_fold && catch_up(&self.context, &mut self.decider).await {
            // the other replica's clock may be ahead of this one
            self.mode = Mode::Shared;
        }
    }
}
