//! Pushes log lines directly to Loki, for hosts without an agent that ships standard output.
//!
//! `tracing-loki` formats and pushes the lines. On its own it drops lines silently, buffers without
//! bound while Loki is unavailable, and may hang at shutdown. It is therefore used in *lanes*: a
//! lane is a layer with its own task, never receives more lines than its channel holds, pushes them
//! once, and is discarded whatever the outcome. Events are written to a window of lanes. The
//! supervisor replaces the window, runs the tasks of the old one in sequence, each with a timeout,
//! and counts the lines that did not arrive. No line is pushed twice.
//!
//! Deliberately not here: retries. Standard output is authoritative, and an agent that ships it
//! retries.

mod lane;
mod probe;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use reqwest::Url;
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Event, Subscriber, info, span, warn};
use tracing_subscriber::{layer::Context, registry::LookupSpan};

use super::delivery::{Delivery, Reason, Sink};
use lane::{LaneFactory, Lanes, Task, Window};
use probe::Probe;

/// The interval of pushes.
const PUSH_EVERY: Duration = Duration::from_secs(1);

/// The timeout of a push.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed push; it doubles with each further failure, up to `PAUSE_MAX`.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Time to push the waiting lines when the process ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// State shared by the layer and the supervisor.
struct Shared {
    window: RwLock<Window>,
    /// Notified when the window is half full.
    half_full: Notify,
}

/// The layer that receives events.
pub(super) struct Layer {
    shared: Arc<Shared>,
    /// Records the fields of spans only; events go to the window.
    spans: tracing_loki::Layer,
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        self.spans.on_new_span(attributes, id, ctx);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        self.spans.on_record(id, values, ctx);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        counts().count_emitted();
        let window = self.shared.window.read().unwrap_or_else(PoisonError::into_inner);
        let half_full = if let Some((lane, half_full)) = window.reserve() {
            lane.on_event(event, ctx);
            half_full
        } else {
            counts().count_dropped(&window.drop_reason(), 1);
            false
        };
        drop(window);
        if half_full {
            self.shared.half_full.notify_one();
        }
    }
}

/// Pushes the lines of the layer.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    factory: LaneFactory,
    probe: Probe,
    /// The tasks of the window's lanes.
    tasks: Vec<Task>,
    spare: Lanes,
    closing: CancellationToken,
    /// Failed pushes since the last successful one.
    failures: u32,
    /// Lines dropped before the first of them.
    dropped_before: u64,
}

/// The running supervisor.
pub(super) struct Loki {
    closing: CancellationToken,
    running: JoinHandle<()>,
}

/// The outcome of a push.
enum Outcome {
    Delivered,
    Dropped(Reason),
}

fn counts() -> &'static Delivery<Reason> {
    Sink::Loki.delivery()
}

/// A layer, and the supervisor that pushes its lines.
///
/// # Errors
/// Fails if a label is not valid.
pub(super) fn open(url: &Url, env: &str) -> Result<(Layer, Supervisor), tracing_loki::Error> {
    counts().set_configured();
    let factory = LaneFactory::new(url.clone(), env);
    let spans = factory.lane()?.0;
    let (mut open, spare) = (factory.window()?, factory.window()?);
    let tasks = std::mem::take(&mut open.tasks);
    let window = RwLock::new(Window::new(open.layers));
    let shared = Arc::new(Shared { window, half_full: Notify::new() });
    let layer = Layer { shared: Arc::clone(&shared), spans };
    let supervisor = Supervisor {
        shared,
        factory,
        probe: Probe::new(),
        tasks,
        spare,
        closing: CancellationToken::new(),
        failures: 0,
        dropped_before: 0,
    };
    Ok((layer, supervisor))
}

impl Loki {
    /// Pushes the waiting lines, unless Loki does not respond. Later lines are dropped.
    pub(super) async fn close(self) {
        self.closing.cancel();
        // the supervisor's timeouts are shorter; this one is for a blocked runtime
        drop(timeout(CLOSE_TIMEOUT * 2, self.running).await);
    }
}

impl Supervisor {
    /// Runs on the current runtime. Not one of `Tasks`, because it must outlive them to push their
    /// last lines.
    pub(super) fn start(self) -> Loki {
        let closing = self.closing.clone();
        Loki { closing, running: Handle::current().spawn(self.run()) }
    }

    async fn run(mut self) {
        loop {
            let closing = self.closing.is_cancelled();
            let lines = self.exchange(closing);
            if closing && self.failures > 0 {
                return counts().count_dropped(&Reason::Shutdown, lines as u64);
            }
            self.push(lines).await;
            if closing {
                return;
            }
            self.pause().await;
        }
    }

    /// Waits until there are lines to push, or for the pause after a failure.
    async fn pause(&mut self) {
        let closing = self.closing.cancelled();
        if self.failures > 0 {
            let doubled = PAUSE_FIRST.saturating_mul(1 << (self.failures - 1).min(10));
            tokio::select! {
                () = sleep(doubled.min(PAUSE_MAX)) => {}
                () = closing => {}
            }
            return;
        }
        tokio::select! {
            () = sleep(PUSH_EVERY) => {}
            () = self.shared.half_full.notified() => {}
            () = closing => {}
        }
    }

    /// Replaces the window by the spare lanes, or by an empty window when closing. Returns the
    /// number of lines in the old window, whose lanes become the spare ones.
    fn exchange(&mut self, closing: bool) -> usize {
        let layers = if closing { Vec::new() } else { std::mem::take(&mut self.spare.layers) };
        let fresh = Window::new(layers);
        let mut window = self.shared.window.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *window, fresh);
        drop(window);
        let lines = old.lines();
        let tasks = std::mem::take(&mut self.spare.tasks);
        self.spare =
            Lanes { layers: old.into_layers(), tasks: std::mem::replace(&mut self.tasks, tasks) };
        lines
    }

    /// Pushes the lines of the spare lanes and replaces the used lanes.
    async fn push(&mut self, lines: usize) {
        let used = lane::lanes_for(lines);
        self.spare.layers.drain(..used);
        let tasks: Vec<Task> = self.spare.tasks.drain(..used).collect();
        let mut left = lines;
        for task in tasks {
            let here = left.min(lane::LINES);
            left -= here;
            match self.run_task(task).await {
                Outcome::Delivered => self.delivered(here as u64),
                Outcome::Dropped(reason) => {
                    // the remaining pushes would fail as well
                    self.dropped(reason, (here + left) as u64);
                    break;
                }
            }
        }
        // cannot fail: the labels and the URL were accepted before
        if let Ok(fresh) = self.factory.create(used) {
            self.spare.extend(fresh);
        }
    }

    /// Runs the task of a lane, which pushes once.
    async fn run_task(&mut self, task: Task) -> Outcome {
        let closing = self.closing.clone();
        let timed_out = async {
            let deadline = Instant::now() + PUSH_TIMEOUT;
            tokio::select! {
                () = sleep_until(deadline) => Reason::Timeout,
                () = async { closing.cancelled().await; sleep(CLOSE_TIMEOUT).await } => Reason::Shutdown,
            }
        };
        tokio::select! {
            failed = self.probe.watch(task.push()) => {
                if failed { Outcome::Dropped(Reason::Refused) } else { Outcome::Delivered }
            }
            reason = timed_out => Outcome::Dropped(reason),
        }
    }

    fn delivered(&mut self, lines: u64) {
        counts().count_delivered(lines);
        if self.failures > 0 {
            let lost = counts().dropped_total() - self.dropped_before;
            info!(event_type = "loki.back", lost, "pushes to Loki succeed again");
        }
        self.failures = 0;
    }

    fn dropped(&mut self, reason: Reason, lines: u64) {
        if self.failures == 0 {
            self.dropped_before = counts().dropped_total();
        }
        counts().count_dropped(&reason, lines);
        // logged for the first failure only: these lines go to the failing sink too
        if self.failures == 0 && reason != Reason::Shutdown {
            let reason = reason.as_str();
            warn!(
                event_type = "loki.away",
                reason, "pushes to Loki fail; log lines for Loki are dropped"
            );
        }
        self.failures = self.failures.saturating_add(1);
    }
}
