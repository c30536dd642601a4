//! Lanes: layers of `tracing-loki` with their tasks, each for a limited number of lines.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use reqwest::Url;
use tracing_loki::{BackgroundTask, BackgroundTaskController, Error};

use super::JOB;
use crate::telemetry::{logs::SERVICE, loss::Reason};

/// Most lines of a lane. The channel inside has room for 512 and drops silently beyond; one place is
/// for the word that there are no more.
pub(super) const LINES: usize = 500;

/// Lanes of a window: 2,000 lines wait at most, and as many are on their way.
const LANES: usize = 4;

/// Where the host's name is.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Makes lanes.
pub(super) struct Maker {
    url: Url,
    labels: Vec<(&'static str, String)>,
}

/// Layers, and the task of each.
pub(super) struct Lanes {
    pub(super) layers: Vec<tracing_loki::Layer>,
    pub(super) tasks: Vec<Task>,
}

/// What pushes the lines of a lane.
pub(super) struct Task {
    controller: BackgroundTaskController,
    task: BackgroundTask,
}

/// The lanes that are written into.
pub(super) struct Window {
    lanes: Vec<tracing_loki::Layer>,
    /// Places that were asked for, those that were not there included.
    taken: AtomicUsize,
}

/// Lanes that so many lines take.
pub(super) const fn used(lines: usize) -> usize {
    lines.div_ceil(LINES)
}

impl Maker {
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

    /// As many lanes.
    pub(super) fn more(&self, lanes: usize) -> Result<Lanes, Error> {
        let made: Result<Vec<_>, Error> = (0..lanes).map(|_| self.lane()).collect();
        let (layers, tasks) = made?.into_iter().unzip();
        Ok(Lanes { layers, tasks })
    }

    /// The lanes of a window.
    pub(super) fn lanes(&self) -> Result<Lanes, Error> {
        self.more(LANES)
    }
}

impl Lanes {
    pub(super) fn extend(&mut self, more: Self) {
        self.layers.extend(more.layers);
        self.tasks.extend(more.tasks);
    }
}

impl Task {
    /// Pushes what its layer heard, once.
    pub(super) async fn push(self) {
        // told to end first, it takes its lines, pushes them together and ends
        self.controller.shutdown().await;
        self.task.await;
    }
}

impl Window {
    pub(super) const fn new(lanes: Vec<tracing_loki::Layer>) -> Self {
        Self { lanes, taken: AtomicUsize::new(0) }
    }

    /// A place for one line, and whether the window is half full with it; none if it is full.
    pub(super) fn place(&self) -> Option<(&tracing_loki::Layer, bool)> {
        let place = self.taken.fetch_add(1, Ordering::Relaxed);
        let lane = self.lanes.get(place / LINES)?;
        Some((lane, place == self.lanes.len() * LINES / 2))
    }

    /// Why there is no place.
    pub(super) const fn full(&self) -> Reason {
        if self.lanes.is_empty() { Reason::Shutdown } else { Reason::QueueFull }
    }

    /// Lines in it.
    pub(super) fn lines(&self) -> usize {
        self.taken.load(Ordering::Relaxed).min(self.lanes.len() * LINES)
    }

    pub(super) fn into_layers(self) -> Vec<tracing_loki::Layer> {
        self.lanes
    }
}
