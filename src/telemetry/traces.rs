//! Traces: the work of a request as OpenTelemetry spans, sent to a collector over OTLP.
//!
//! Spans are those of `tracing` with the target [`TARGET`]. Log lines do not show them, and no
//! other span or event is exported, so the text of a log line never reaches a trace. Without a
//! collector no layer is interested in the target, and a span costs one comparison.
//!
//! ```text
//! POST /v1/generate          SERVER
//! ├─ mlsdm.authenticate
//! ├─ mlsdm.decide            the verdict
//! │  └─ mlsdm.append
//! ├─ mlsdm.embed
//! ├─ mlsdm.retrieve
//! ├─ chat {model}            CLIENT
//! └─ mlsdm.append
//! ```
//!
//! Ended spans wait in a bounded queue; one task sends them in batches. Each span is counted as
//! emitted when it ends, and later as delivered or dropped.
//! Deliberately not here: the spans themselves, which are created by the modules that do the work.

mod collector;
mod delivery;
mod queue;
mod remote;
mod sampler;
mod span;
#[cfg(test)]
mod tests;

use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    resource::TelemetryResourceDetector,
    trace::{SdkTracerProvider, Tracer},
};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::config;

pub use delivery::{Reason, delivery};
pub use queue::FLUSH_TIME;
pub use remote::RemoteParent;
pub use span::{TARGET, context_of, exemplar, failed, in_current_trace, inject};

use collector::Collector;
use queue::{ExportTask, Queue};

/// Why traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The HTTP client cannot be built.
    #[error(
        "cannot build the HTTP client for traces; check the proxy variables of the environment"
    )]
    Client(#[source] reqwest::Error),
    /// The exporter rejected its configuration.
    #[error("cannot export spans with this configuration of [traces]: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// The tracer of this process and the task that exports its spans.
#[derive(Debug)]
pub struct Traces {
    tracer: Tracer,
    export: ExportTask,
}

impl Traces {
    /// Starts to export spans, if the configuration names a collector. The task runs on `runtime`.
    pub fn start(config: &config::Traces, runtime: &Handle) -> Result<Option<Self>, SetupError> {
        let Some(url) = config.collector() else { return Ok(None) };
        let collector = Collector::new(config.timeout()).map_err(SetupError::Client)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector.clone())
            .with_endpoint(url)
            .with_headers(config.headers())
            // the collector applies the timeout, so that it can report the outcome of a batch
            .with_timeout(config.timeout() * 2)
            .with_retry_policy(opentelemetry_otlp::RetryPolicy::disabled())
            .build()?;
        if config.to_providers {
            global::set_text_map_propagator(TraceContextPropagator::new());
        }
        delivery().set_configured();
        let resource = resource(config);
        let (queue, export) = Queue::new(exporter, collector, &resource, runtime);
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler::RequestSampler::new(config))
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        Ok(Some(Self { tracer: provider.tracer(env!("CARGO_PKG_NAME")), export }))
    }

    /// The layer that turns spans with the [`TARGET`] into OpenTelemetry spans.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(Targets::new().with_target(TARGET, tracing::Level::INFO))
    }

    /// Sends the waiting spans, for [`FLUSH_TIME`] at most, and counts the rest as dropped.
    pub async fn close(self) {
        self.export.close().await;
    }
}

/// The attributes of this process. Configured ones override those that the program sets itself.
fn resource(config: &config::Traces) -> Resource {
    let configured = config.resource_attributes();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(configured.into_iter().map(|(name, value)| KeyValue::new(name, value)))
        .build()
}
