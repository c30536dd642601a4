//! Starting and stopping: long-lived tasks, signals, and the three stages of a stop.
//!
//! A first SIGTERM or SIGINT makes the server *leaving* (not ready, still serving), after the drain
//! time *soft* stopped (finish what runs, take nothing new); a second signal stops it *hard*.
//! Deliberately not here: what a task does when it is told to stop.

use std::{future::Future, io, time::Duration};

use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, error_span, info, warn};

/// How long tasks may take to end after they are forced to.
const FORCED_WAIT: Duration = Duration::from_secs(1);

/// How far a stop has come; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    leaving: CancellationToken,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    /// Whether the server wants no more traffic; it still serves.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Whether nothing new is taken.
    pub fn is_soft(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Resolves when nothing new is to be taken; running work may end.
    pub async fn soft(&self) {
        self.soft.cancelled().await;
    }

    /// Resolves when everything is to end at once.
    pub async fn hard(&self) {
        self.hard.cancelled().await;
    }

    /// Not ready from now on.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Nothing new from now on.
    pub fn begin(&self) {
        self.leave();
        self.soft.cancel();
    }

    /// Everything ends now.
    pub fn force(&self) {
        self.begin();
        self.hard.cancel();
    }
}

/// The long-lived tasks of the process, which a stop waits for.
#[derive(Clone, Debug)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    stop: Stop,
}

impl Tasks {
    /// No task yet. They will run on this runtime, whoever spawns them: the server's worker threads
    /// have runtimes of their own, which end with them.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, tracker: TaskTracker::new(), stop: Stop::default() }
    }

    /// The runtime that tasks run on.
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Tells tasks and handlers about a stop.
    pub const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Runs a task that [`Self::wait`] waits for. It must end soon after [`Stop::soft`].
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // a span of the highest level, so that it names the task whatever is logged
        self.launch(self.tracker.track_future(task.instrument(error_span!("task", task = name))));
    }

    /// Turns signals into stages; `drain` is the time between leaving and the soft stop.
    ///
    /// Errors when the process may not listen for signals.
    pub fn listen(&self, drain: Duration) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let stop = self.stop.clone();
        // not tracked: it has to hear a second signal while `wait` waits for the others
        self.launch(async move {
            // after a stop begun otherwise the next signal forces it
            tokio::select! {
                () = signals.next() => {}
                () = stop.soft() => {
                    signals.next().await;
                    return stop.force();
                }
            }
            info!(event_type = "server.leaving", "stopping: not ready, still serving");
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

    /// Runs a task that [`Self::wait`] does not wait for: it ends with the stop itself.
    pub fn spawn_stopper(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.launch(task);
    }

    fn launch(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Waits for all tasks to end; when `timeout` has passed or a second signal came, forces them,
    /// waits a moment more, and answers false.
    pub async fn wait(&self, timeout: Duration) -> bool {
        self.tracker.close();
        let ended = tokio::select! {
            () = self.tracker.wait() => true,
            () = self.stop.hard() => false,
            () = tokio::time::sleep(timeout) => false,
        };
        if !ended {
            warn!(event_type = "server.forced", "tasks did not end in time; they are forced");
            self.stop.force();
            let _late = tokio::time::timeout(FORCED_WAIT, self.tracker.wait()).await;
        }
        ended
    }
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
    async fn a_soft_stop_is_waited_for() {
        let tasks = Tasks::new(Handle::current());
        let stop = tasks.stop().clone();
        tasks.spawn("test", async move { stop.soft().await });
        tasks.stop().leave();
        assert!(tasks.stop().is_leaving() && !tasks.stop().is_soft());
        tasks.stop().begin();
        assert!(tasks.wait(Duration::from_mins(1)).await);
    }

    #[tokio::test]
    async fn who_does_not_end_is_forced() {
        let tasks = Tasks::new(Handle::current());
        let stop = tasks.stop().clone();
        tasks.spawn("stubborn", async move { stop.hard().await });
        tasks.stop().begin();
        assert!(!tasks.wait(Duration::ZERO).await);
    }

    fn send(signal: &str) {
        let own = std::process::id().to_string();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "kill -s \"$0\" \"$1\"", signal, &own]);
        assert!(shell.status().unwrap().success());
    }

    #[tokio::test]
    async fn a_second_signal_forces() {
        let tasks = Tasks::new(Handle::current());
        tasks.listen(Duration::ZERO).unwrap();
        send("TERM");
        tasks.stop().soft().await;
        assert!(tasks.stop().is_leaving());
        send("INT");
        tasks.stop().hard().await;
    }
}
