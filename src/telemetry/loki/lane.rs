//! Lanes: layers of `tracing-loki` with their tasks, each for a bounded number of lines.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use reqwest::Url;
use tracing_loki::{BackgroundTask, BackgroundTaskController, Error};

use crate::telemetry::{
    delivery::Reason,
    names::{JOB, SERVICE},
};

/// Most lines of a lane. The channel inside holds 512 messages and silently drops further ones; one
/// of them is the request to stop.
pub(super) const LINES: usize = 500;

/// Lanes of a window: at most 2,000 lines wait, and as many are being pushed.
const LANES: usize = 4;

/// The file with the host name.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Creates lanes.
pub(super) struct LaneFactory {
    url: Url,
    labels: Vec<(&'static str, String)>,
}

/// Layers and their tasks, in the same order.
pub(super) struct Lanes {
    pub(super) layers: Vec<tracing_loki::Layer>,
    pub(super) tasks: Vec<Task>,
}

/// The task that pushes the lines of a lane.
pub(super) struct Task {
    controller: BackgroundTaskController,
    task: BackgroundTask,
}

/// The lanes that events are written to.
pub(super) struct Window {
    lanes: Vec<tracing_loki::Layer>,
    /// Slots requested, including those beyond the capacity.
    requested: AtomicUsize,
}

/// The number of lanes for this number of lines.
pub(super) const fn lanes_for(lines: usize) -> usize {
    lines.div_ceil(LINES)
}

impl LaneFactory {
    pub(super) fn new(url: Url, env: &str) -> Self {
        let mut labels =
            vec![("job", JOB.to_owned()), ("service", SERVICE.to_owned()), ("env", env.to_owned())];
        let host = fs::read_to_string(HOSTNAME).unwrap_or_default();
        if !host.trim().is_empty() {
            labels.push(("instance", host.trim().to_owned()));
        }
        Self { url, labels }
    }

    pub(super) fn lane(&self) -> Result<(tracing_loki::Layer, Task), Error> {
        let mut builder =
            tracing_loki::builder().extra_field("version", env!("CARGO_PKG_VERSION"))?;
        for (name, value) in &self.labels {
            builder = builder.label(*name, value.as_str())?;
        }
        let (layer, controller, task) = builder.build_controller_url(self.url.clone())?;
        Ok((layer, Task { controller, task }))
    }

    /// Creates this number of lanes.
    pub(super) fn create(&self, lanes: usize) -> Result<Lanes, Error> {
        let made: Result<Vec<_>, Error> = (0..lanes).map(|_| self.lane()).collect();
        let (layers, tasks) = made?.into_iter().unzip();
        Ok(Lanes { layers, tasks })
    }

    /// Creates the lanes of a window.
    pub(super) fn window(&self) -> Result<Lanes, Error> {
        self.create(LANES)
    }
}

impl Lanes {
    pub(super) fn extend(&mut self, more: Self) {
        self.layers.extend(more.layers);
        self.tasks.extend(more.tasks);
    }
}

impl Task {
    /// Pushes the lines of the lane, once.
    pub(super) async fn push(self) {
        // a task that is stopped first takes all its lines, pushes them together and ends
        self.controller.shutdown().await;
        self.task.await;
    }
}

impl Window {
    pub(super) const fn new(lanes: Vec<tracing_loki::Layer>) -> Self {
        Self { lanes, requested: AtomicUsize::new(0) }
    }

    /// The lane for one line, and true if that line makes the window half full; `None` if it is
    /// full.
    pub(super) fn reserve(&self) -> Option<(&tracing_loki::Layer, bool)> {
        let slot = self.requested.fetch_add(1, Ordering::Relaxed);
        let lane = self.lanes.get(slot / LINES)?;
        Some((lane, slot == self.lanes.len() * LINES / 2))
    }

    /// Why [`reserve`](Self::reserve) found no lane.
    pub(super) const fn drop_reason(&self) -> Reason {
        if self.lanes.is_empty() { Reason::Shutdown } else { Reason::QueueFull }
    }

    /// The number of lines in the window.
    pub(super) fn lines(&self) -> usize {
        self.requested.load(Ordering::Relaxed).min(self.lanes.len() * LINES)
    }

    pub(super) fn into_layers(self) -> Vec<tracing_loki::Layer> {
        self.lanes
    }
}
