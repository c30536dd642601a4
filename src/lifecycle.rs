//! Long-lived tasks, signals, and the three stages of a shutdown.
//!
//! The first SIGTERM or SIGINT starts the stage *leaving* (not ready, still serving). After the drain
//! time the *soft* stop follows (complete running work, accept no new work). A second signal starts the
//! *hard* stop. Deliberately not here: the reaction of a task to each stage.

use std::{future::Future, io, time::Duration};

use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, error_span, info, instrument::Instrumented, warn};

/// Time for tasks to end after the hard stop has begun.
const FORCED_WAIT: Duration = Duration::from_secs(1);

/// The stage of the shutdown. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    leaving: CancellationToken,
    soft: CancellationToken,
    drained: CancellationToken,
    ended: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    /// True from the stage *leaving* on: the server is not ready but still serves.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Resolves when the stage *leaving* begins.
    pub async fn leaving(&self) {
        self.leaving.cancelled().await;
    }

    /// True from the soft stop on: the server accepts no new work.
    pub fn is_soft(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Resolves when the soft stop begins.
    pub async fn soft(&self) {
        self.soft.cancelled().await;
    }

    /// Resolves when the time to complete answers is over.
    pub async fn drained(&self) {
        self.drained.cancelled().await;
    }

    /// Resolves when all tasks have ended but those of [`Tasks::spawn_last`], or after a hard stop.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Resolves when the hard stop begins.
    pub async fn hard(&self) {
        self.hard.cancelled().await;
    }

    /// Starts the stage *leaving*.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Starts the soft stop.
    pub fn begin(&self) {
        self.leave();
        self.soft.cancel();
    }

    /// Ends the time to complete answers.
    pub fn end_drain(&self) {
        self.begin();
        self.drained.cancel();
    }

    /// Starts the hard stop.
    pub fn force(&self) {
        self.end_drain();
        self.hard.cancel();
    }
}

/// The long-lived tasks of the process. A shutdown waits for them.
#[derive(Clone, Debug)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    last: TaskTracker,
    stop: Stop,
}

impl Tasks {
    /// Tasks will run on this runtime, also if a worker thread of the server spawns them: the workers'
    /// own runtimes end with the workers.
    pub fn new(runtime: Handle) -> Self {
        let (tracker, last) = (TaskTracker::new(), TaskTracker::new());
        Self { runtime, tracker, last, stop: Stop::default() }
    }

    /// The runtime that tasks run on.
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The stage of the shutdown.
    pub const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Runs a task that [`Self::wait`] waits for. It must end soon after [`Stop::soft`].
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.launch(self.tracker.track_future(named(name, task)));
    }

    /// Runs a task that outlives all others. It must end soon after [`Stop::ended`].
    pub fn spawn_last<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.launch(self.last.track_future(named(name, task)));
    }

    /// Logs SIGHUP instead of dying of it: a closed terminal sends it, and so do tools that rotate logs.
    /// `tls` reloads the certificate on it.
    ///
    /// Fails if the process cannot register a signal handler.
    pub fn survive_hangups(&self) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        self.launch(async move {
            while hangup.recv().await.is_some() {
                info!(
                    event_type = "server.hangup",
                    "SIGHUP received: the TLS certificate is read again if there is one; other settings \
                     need a restart"
                );
            }
        });
        Ok(())
    }

    /// Starts the stages on signals; `drain` is the time between *leaving* and the soft stop.
    ///
    /// Fails if the process cannot register signal handlers.
    pub fn listen(&self, drain: Duration) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let stop = self.stop.clone();
        // not tracked, because it must handle a second signal while `wait` waits for the tracked tasks
        self.launch(async move {
            // if the soft stop began without a signal, the next signal starts the hard stop
            tokio::select! {
                () = signals.next() => {}
                () = stop.soft() => {
                    signals.next().await;
                    return stop.force();
                }
            }
            info!(event_type = "server.leaving", "shutdown requested: not ready, still serving");
            stop.leave();
            tokio::select! {
                () = tokio::time::sleep(drain) => stop.begin(),
                () = signals.next() => return stop.force(),
            }
            signals.next().await;
            stop.force();
        });
        Ok(())
    }

    /// Runs a task that [`Self::wait`] does not wait for, because it carries out the shutdown.
    pub fn spawn_stopper(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.launch(task);
    }

    fn launch(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Waits for all tasks to end. After `timeout` or a second signal, starts the hard stop, waits one
    /// more second and returns false.
    pub async fn wait(&self, timeout: Duration) -> bool {
        self.tracker.close();
        let ended = tokio::select! {
            () = self.tracker.wait() => true,
            () = self.stop.hard() => false,
            () = tokio::time::sleep(timeout) => false,
        };
        if !ended {
            warn!(event_type = "server.forced", "tasks did not end in time; forcing them to stop");
            self.stop.force();
            let _late = tokio::time::timeout(FORCED_WAIT, self.tracker.wait()).await;
        }
        self.last.close();
        self.stop.ended.cancel();
        let last = tokio::time::timeout(FORCED_WAIT, self.last.wait()).await;
        ended && last.is_ok()
    }
}

fn named<F: Future<Output = ()>>(name: &'static str, task: F) -> Instrumented<F> {
    // level ERROR, so that log lines name the task at any log level
    task.instrument(error_span!("task", task = name))
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_at_the_soft_stop_is_awaited() {
        let tasks = Tasks::new(Handle::current());
        let stop = tasks.stop().clone();
        tasks.spawn("test", async move { stop.soft().await });
        tasks.stop().leave();
        assert!(tasks.stop().is_leaving() && !tasks.stop().is_soft());
        tasks.stop().begin();
        assert!(tasks.wait(Duration::from_mins(1)).await);
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_forced_to_stop() {
        let tasks = Tasks::new(Handle::current());
        let stop = tasks.stop().clone();
        tasks.spawn("stubborn", async move { stop.hard().await });
        tasks.stop().begin();
        assert!(!tasks.wait(Duration::ZERO).await);
    }

    #[tokio::test]
    async fn the_last_task_runs_until_the_others_have_ended() {
        let tasks = Tasks::new(Handle::current());
        let (first, last) = (tasks.stop().clone(), tasks.stop().clone());
        let (done, other) = (CancellationToken::new(), CancellationToken::new());
        let (finish, finished) = (other.clone(), done.clone());
        tasks.spawn_last("last", async move {
            last.soft().await;
            finish.cancel();
            last.ended().await;
            finished.cancel();
        });
        tasks.spawn("first", async move {
            first.soft().await;
            // the last task still runs
            other.cancelled().await;
        });
        tasks.stop().begin();
        assert!(tasks.wait(Duration::from_mins(1)).await);
        assert!(done.is_cancelled());
    }

    fn send(signal: &str) {
        let own = std::process::id().to_string();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "kill -s \"$0\" \"$1\"", signal, &own]);
        assert!(shell.status().unwrap().success());
    }

    #[tokio::test]
    async fn a_second_signal_starts_the_hard_stop() {
        let tasks = Tasks::new(Handle::current());
        tasks.listen(Duration::ZERO).unwrap();
        send("TERM");
        tasks.stop().soft().await;
        assert!(tasks.stop().is_leaving());
        send("INT");
        tasks.stop().hard().await;
    }
}
