//! Pushing log lines straight to a Loki, for hosts without an agent that ships standard output.
//!
//! `tracing-loki` formats and pushes. By itself it loses lines silently, keeps without bound what a
//! Loki that is away does not take, and may hang at the end. So it gets its lines in *lanes*: each is a
//! layer with a task of its own that never sees more lines than its channel holds, that pushes them
//! once, and that is thrown away, answered or not. Requests write into a window of lanes; the
//! supervisor exchanges the window, runs its tasks one after the other with a limit of time, and
//! counts what did not get there. Nothing is pushed twice.
//!
//! Deliberately not here: retries. Standard output is the truth, and an agent that ships it retries.

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

use super::loss::{Reason, Sink};
use lane::{Lanes, Maker, Task, Window};
use probe::Probe;

/// The label `job`: not that of lines which an agent ships.
const JOB: &str = "mlsdm-direct";

/// Lines wait this long to be pushed together.
const PUSH_EVERY: Duration = Duration::from_secs(1);

/// How long a Loki may take to answer a push.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Pause after a push that failed; doubles with each, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);

/// How long the end of the process waits for what is still to be pushed.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What requests write into.
struct Shared {
    window: RwLock<Window>,
    /// There is more than half of what a window holds.
    filling: Notify,
}

/// The layer that hears events.
pub(super) struct Layer {
    shared: Arc<Shared>,
    /// Keeps the fields of spans; no event goes through it.
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
        Sink::Loki.emitted();
        let window = self.shared.window.read().unwrap_or_else(PoisonError::into_inner);
        let half_full = if let Some((lane, half_full)) = window.place() {
            lane.on_event(event, ctx);
            half_full
        } else {
            Sink::Loki.lost(window.full(), 1);
            false
        };
        drop(window);
        if half_full {
            self.shared.filling.notify_one();
        }
    }
}

/// Pushes what the layer heard.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    maker: Maker,
    probe: Probe,
    /// The tasks of the lanes that are written into.
    tasks: Vec<Task>,
    spare: Lanes,
    closing: CancellationToken,
    /// Pushes that failed since one got there.
    failures: u32,
    lost_before: u64,
}

/// The supervisor at work.
pub(super) struct Loki {
    closing: CancellationToken,
    running: JoinHandle<()>,
}

/// How a push went.
enum Pushed {
    Taken,
    Lost(Reason),
}

/// A layer, and the supervisor that pushes what it hears.
///
/// # Errors
/// When a label is not acceptable.
pub(super) fn open(url: &Url, env: &str) -> Result<(Layer, Supervisor), tracing_loki::Error> {
    Sink::Loki.wanted();
    let maker = Maker::new(url.clone(), env);
    let spans = maker.lane()?.0;
    let (mut open, spare) = (maker.lanes()?, maker.lanes()?);
    let tasks = std::mem::take(&mut open.tasks);
    let window = RwLock::new(Window::new(open.layers));
    let shared = Arc::new(Shared { window, filling: Notify::new() });
    let layer = Layer { shared: Arc::clone(&shared), spans };
    let supervisor = Supervisor {
        shared,
        maker,
        probe: Probe::new(),
        tasks,
        spare,
        closing: CancellationToken::new(),
        failures: 0,
        lost_before: 0,
    };
    Ok((layer, supervisor))
}

impl Loki {
    /// Pushes what waits, unless Loki does not answer; what comes later is lost.
    pub(super) async fn close(self) {
        self.closing.cancel();
        // its own waits are shorter; this one is for a runtime that is stuck
        drop(timeout(CLOSE_WITHIN * 2, self.running).await);
    }
}

impl Supervisor {
    /// Runs on the present runtime. Not one of `Tasks`: it has to hear the last lines of those.
    pub(super) fn start(self) -> Loki {
        let closing = self.closing.clone();
        Loki { closing, running: Handle::current().spawn(self.run()) }
    }

    async fn run(mut self) {
        loop {
            let closing = self.closing.is_cancelled();
            let lines = self.exchange(closing);
            if closing && self.failures > 0 {
                return Sink::Loki.lost(Reason::Shutdown, lines);
            }
            self.push(lines).await;
            if closing {
                return;
            }
            self.pause().await;
        }
    }

    /// Until there is something to push, or Loki may be tried again.
    async fn pause(&mut self) {
        let closing = self.closing.cancelled();
        if self.failures > 0 {
            let doubled = PAUSE_FIRST.saturating_mul(1 << (self.failures - 1).min(10));
            tokio::select! {
                () = sleep(doubled.min(PAUSE_LONGEST)) => {}
                () = closing => {}
            }
            return;
        }
        tokio::select! {
            () = sleep(PUSH_EVERY) => {}
            () = self.shared.filling.notified() => {}
            () = closing => {}
        }
    }

    /// Takes the window away from requests and gives them the spare one, or none at the end. Gives
    /// how many lines are in it.
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

    /// Pushes the lines of the spare window, and makes its used lanes anew.
    async fn push(&mut self, lines: usize) {
        let used = lane::used(lines);
        self.spare.layers.drain(..used);
        let tasks: Vec<Task> = self.spare.tasks.drain(..used).collect();
        let mut left = lines;
        for task in tasks {
            let here = left.min(lane::LINES);
            left -= here;
            match self.run_task(task).await {
                Pushed::Taken => self.taken(here),
                Pushed::Lost(reason) => {
                    // Loki would refuse the rest as well
                    self.refused(reason, here + left);
                    break;
                }
            }
        }
        // labels and URL were accepted before
        if let Ok(fresh) = self.maker.more(used) {
            self.spare.extend(fresh);
        }
    }

    /// Has a task push its lines. It ends after one push, whether or not that was taken.
    async fn run_task(&mut self, task: Task) -> Pushed {
        let closing = self.closing.clone();
        let late = async {
            let patient = Instant::now() + ANSWER_WITHIN;
            tokio::select! {
                () = sleep_until(patient) => Reason::Unanswered,
                () = async { closing.cancelled().await; sleep(CLOSE_WITHIN).await } => Reason::Shutdown,
            }
        };
        tokio::select! {
            failed = self.probe.watch(task.push()) => {
                if failed { Pushed::Lost(Reason::Refused) } else { Pushed::Taken }
            }
            reason = late => Pushed::Lost(reason),
        }
    }

    fn taken(&mut self, lines: usize) {
        Sink::Loki.took(lines);
        if self.failures > 0 {
            let lost = Sink::Loki.lost_so_far() - self.lost_before;
            info!(event_type = "loki.back", lost, "Loki takes lines again");
        }
        self.failures = 0;
    }

    fn refused(&mut self, reason: Reason, lines: usize) {
        if self.failures == 0 {
            self.lost_before = Sink::Loki.lost_so_far();
        }
        Sink::Loki.lost(reason, lines);
        // once, not with every push: it is this log that is in trouble
        if self.failures == 0 && reason != Reason::Shutdown {
            let reason = reason.as_str();
            warn!(event_type = "loki.away", reason, "Loki takes no lines; they are lost there");
        }
        self.failures = self.failures.saturating_add(1);
    }
}
