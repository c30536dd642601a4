//! Spans that have ended, waiting to be sent.
//!
//! The SDK's own batch processor says nothing about what it drops; here every span is counted. Ending a
//! span never waits: one that finds the queue full is lost.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter as _, SpanProcessor},
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    collector::{Collector, Outcome},
    counts::{Reason, counts},
};

/// Spans that may wait, some 10 MB; more are lost.
const QUEUE_MAX: usize = 8_192;

/// Most spans of one batch.
const BATCH_MAX: usize = 512;

/// How long a batch waits for more spans.
const DELAY: Duration = Duration::from_secs(1);

/// How often it looks for them meanwhile; the queue holds what comes in between.
const LOOK: Duration = Duration::from_millis(50);

/// How long the spans that wait may take to be sent when the process ends.
pub const FLUSH_TIME: Duration = Duration::from_secs(4);

/// Takes spans that end.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Sender<SpanData>);

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        counts().emitted.inc();
        match self.0.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => counts().lost(Reason::QueueFull, 1),
            Err(TrySendError::Closed(_)) => counts().lost(Reason::Shutdown, 1),
        }
    }

    /// Nothing: the task sends what waits within a second, and [`Delivery::close`] waits for it.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// Nothing: the provider lives as long as the process.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The task that sends them.
#[derive(Debug)]
pub(super) struct Delivery {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Delivery {
    /// Ends the task, within [`FLUSH_TIME`].
    pub(super) async fn close(self) {
        self.closing.cancel();
        drop(self.task.await);
        let counts = counts();
        let (emitted, delivered) = (counts.emitted.get(), counts.delivered.get());
        let dropped = counts.lost_total();
        tracing::info!(event_type = "traces.closed", emitted, delivered, dropped, "traces end");
    }
}

impl Queue {
    /// A queue and its task, on a runtime: the exporter's client needs one.
    pub(super) fn new(
        mut exporter: SpanExporter,
        collector: Collector,
        resource: &Resource,
        runtime: &Handle,
    ) -> (Self, Delivery) {
        exporter.set_resource(resource);
        let (sender, spans) = mpsc::channel(QUEUE_MAX);
        let closing = CancellationToken::new();
        let worker =
            Worker { exporter, collector, spans, closing: closing.clone(), failing: false };
        let task = runtime.spawn(worker.run());
        (Self(sender), Delivery { closing, task })
    }
}

struct Worker {
    exporter: SpanExporter,
    collector: Collector,
    spans: mpsc::Receiver<SpanData>,
    closing: CancellationToken,
    /// Whether the last batch was lost.
    failing: bool,
}

impl Worker {
    async fn run(mut self) {
        let closing = self.closing.clone();
        let end = async {
            closing.cancelled().await;
            sleep(FLUSH_TIME).await;
        };
        tokio::pin!(end);
        loop {
            let batch = self.collect().await;
            let spans = batch.len() as u64;
            if spans == 0 {
                break;
            }
            tokio::select! {
                () = self.send(batch) => {}
                () = &mut end => {
                    counts().lost(Reason::Shutdown, spans);
                    break;
                }
            }
        }
        self.spans.close();
        while self.spans.try_recv().is_ok() {
            counts().lost(Reason::Shutdown, 1);
        }
    }

    /// The next batch; empty once the queue is closed and nothing waits any more. Waits for the first
    /// span only: to be woken by each would cost the requests that end them.
    async fn collect(&mut self) -> Vec<SpanData> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while batch.is_empty() {
            tokio::select! {
                biased;
                () = self.closing.cancelled(), if !self.spans.is_closed() => self.spans.close(),
                taken = self.spans.recv_many(&mut batch, BATCH_MAX) => if taken == 0 {
                    return batch;
                }
            }
        }
        let began = Instant::now();
        while batch.len() < BATCH_MAX && !self.spans.is_closed() && began.elapsed() < DELAY {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => self.spans.close(),
                () = sleep(LOOK) => {}
            }
            while batch.len() < BATCH_MAX
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
        }
        batch
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        // what came of it is known better by the collector
        drop(self.exporter.export(batch).await);
        match self.collector.outcome() {
            Outcome::Taken { rejected } => {
                let rejected = rejected.min(spans);
                counts().delivered(spans - rejected);
                counts().lost(Reason::Refused, rejected);
                self.failing = false;
            }
            Outcome::Lost(reason) => {
                counts().lost(reason, spans);
                self.lost(reason);
            }
        }
    }

    /// Says so once, not for every batch.
    fn lost(&mut self, reason: Reason) {
        if !std::mem::replace(&mut self.failing, true) {
            let reason = super::REASONS.get(reason as usize);
            tracing::warn!(event_type = "traces.lost", reason, "spans are not taken and are lost");
        }
    }
}
