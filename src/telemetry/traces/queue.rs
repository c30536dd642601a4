//! The queue of ended spans, and the task that exports them.
//!
//! The batch processor of the SDK does not report what it drops; here every span is counted. Ending
//! a span never waits: if the queue is full, the span is dropped.

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
    delivery::{Reason, delivery},
};

/// Most spans that wait, about 10 MB; further ones are dropped.
const QUEUE_MAX: usize = 8_192;

/// Most spans of one batch.
const BATCH_MAX: usize = 512;

/// An incomplete batch waits this long for more spans.
const DELAY: Duration = Duration::from_secs(1);

/// The interval at which the queue is polled meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Time to send the waiting spans when the process ends.
pub const FLUSH_TIME: Duration = Duration::from_secs(4);

/// The sending half, which takes ended spans.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Sender<SpanData>);

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        delivery().count_emitted();
        match self.0.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => delivery().count_dropped(&Reason::QueueFull, 1),
            Err(TrySendError::Closed(_)) => delivery().count_dropped(&Reason::Shutdown, 1),
        }
    }

    /// Does nothing: the task sends spans within a second, and [`ExportTask::close`] waits for it.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// Does nothing: the provider lives as long as the process.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The task that exports spans.
#[derive(Debug)]
pub(super) struct ExportTask {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl ExportTask {
    /// Ends the task, within [`FLUSH_TIME`].
    pub(super) async fn close(self) {
        self.closing.cancel();
        drop(self.task.await);
        let counts = delivery();
        let (emitted, delivered) = (counts.emitted.get(), counts.delivered.get());
        let dropped = counts.dropped_total();
        tracing::info!(
            event_type = "traces.closed",
            emitted,
            delivered,
            dropped,
            "span export closed"
        );
    }
}

impl Queue {
    /// A queue and its task on `runtime`, which the HTTP client needs.
    pub(super) fn new(
        mut exporter: SpanExporter,
        collector: Collector,
        resource: &Resource,
        runtime: &Handle,
    ) -> (Self, ExportTask) {
        exporter.set_resource(resource);
        let (sender, spans) = mpsc::channel(QUEUE_MAX);
        let closing = CancellationToken::new();
        let worker =
            Worker { exporter, collector, spans, closing: closing.clone(), failing: false };
        let task = runtime.spawn(worker.run());
        (Self(sender), ExportTask { closing, task })
    }
}

struct Worker {
    exporter: SpanExporter,
    collector: Collector,
    spans: mpsc::Receiver<SpanData>,
    closing: CancellationToken,
    /// True if the last batch was dropped.
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
                    delivery().count_dropped(&Reason::Shutdown, spans);
                    break;
                }
            }
        }
        self.spans.close();
        while self.spans.try_recv().is_ok() {
            delivery().count_dropped(&Reason::Shutdown, 1);
        }
    }

    /// The next batch; empty once the queue is closed and drained. Awaits the first span only, and
    /// polls for the others: a wake-up per span would burden the requests that end them.
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
        // the outcome that the collector reports is more precise
        drop(self.exporter.export(batch).await);
        match self.collector.outcome() {
            Outcome::Delivered { rejected } => {
                let rejected = rejected.min(spans);
                delivery().count_delivered(spans - rejected);
                delivery().count_dropped(&Reason::Refused, rejected);
                self.failing = false;
            }
            Outcome::Dropped(reason) => {
                delivery().count_dropped(&reason, spans);
                self.warn(reason);
            }
        }
    }

    /// Logs the first failure only, not one per batch.
    fn warn(&mut self, reason: Reason) {
        if !std::mem::replace(&mut self.failing, true) {
            let reason = reason.as_str();
            tracing::warn!(
                event_type = "traces.lost",
                reason,
                "export to the collector fails; spans are dropped"
            );
        }
    }
}
