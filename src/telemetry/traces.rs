//! Traces: what a request did, as OpenTelemetry spans sent to a collector over OTLP.
//!
//! Spans are those of `tracing` with the target [`TARGET`]: log lines do not show them, and nothing
//! else is exported, so what a crate or a log line says never ends up in a trace. Without a collector
//! no layer wants the target, and a span costs one comparison.
//!
//! ```text
//! POST /v1/generate          SERVER
//! ├─ mlsdm.authenticate
//! ├─ mlsdm.decide            the verdict, which is given where it is recorded
//! │  └─ mlsdm.append
//! ├─ mlsdm.embed
//! ├─ mlsdm.retrieve
//! ├─ chat {model}            CLIENT
//! └─ mlsdm.append
//! ```
//!
//! Spans that have ended wait in a bounded queue; one task sends them in batches. Each is counted
//! once when it ends and once for what became of it: emitted = delivered + dropped.
//! Deliberately not here: the spans themselves, which are made where the work is done.

mod collector;
mod counts;
mod queue;
mod remote;
mod sampler;
#[cfg(test)]
mod tests;

use opentelemetry::{
    Context, KeyValue,
    context::FutureExt as _,
    global,
    trace::{SpanContext, TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::HeaderInjector;
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
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::{clock, config, metrics::Exemplar};

pub use counts::{Counts, REASONS, counts};
pub use queue::FLUSH_TIME;
pub use remote::Remote;

use collector::Collector;
use queue::{Delivery, Queue};

/// The target of spans that are exported.
pub const TARGET: &str = "trace";

/// Why there can be no traces.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The HTTP client.
    #[error("the client of traces cannot be made; check the proxy variables of the environment")]
    Client(#[source] reqwest::Error),
    /// The exporter.
    #[error("spans cannot be sent as [traces] says: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// The spans of this process on their way to a collector.
#[derive(Debug)]
pub struct Traces {
    tracer: Tracer,
    delivery: Delivery,
}

impl Traces {
    /// Begins to send spans, if the configuration names a collector. The task runs on this runtime.
    pub fn start(config: &config::Traces, runtime: &Handle) -> Result<Option<Self>, SetupError> {
        let Some(url) = config.collector() else { return Ok(None) };
        let collector = Collector::new(config.timeout()).map_err(SetupError::Client)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector.clone())
            .with_endpoint(url)
            .with_headers(config.headers())
            // the collector keeps the time, so that it knows what became of a batch
            .with_timeout(config.timeout() * 2)
            .with_retry_policy(opentelemetry_otlp::RetryPolicy::disabled())
            .build()?;
        if config.to_providers {
            global::set_text_map_propagator(TraceContextPropagator::new());
        }
        counts().want();
        let resource = resource(config);
        let (queue, delivery) = Queue::new(exporter, collector, &resource, runtime);
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler::Chosen::new(config))
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        Ok(Some(Self { tracer: provider.tracer(env!("CARGO_PKG_NAME")), delivery }))
    }

    /// Makes spans of those that have the target.
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

    /// Sends what waits, for [`FLUSH_TIME`] at most; what is left then is lost and counted.
    pub async fn close(self) {
        self.delivery.close().await;
    }
}

/// Who this process is. What configuration says wins over what the program knows of itself.
fn resource(config: &config::Traces) -> Resource {
    let given = config.resource_attributes();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(given.into_iter().map(|(name, value)| KeyValue::new(name, value)))
        .build()
}

/// The ids of a span; none if there are no traces.
pub fn ids(span: &Span) -> Option<SpanContext> {
    let context = span.context();
    let ids = context.span().span_context().clone();
    ids.is_valid().then_some(ids)
}

/// Marks a span as failed; its fields `otel.status_code` and `error.type` must be declared.
pub fn failed(span: &Span, kind: &str) {
    span.record("otel.status_code", "error");
    span.record("error.type", kind);
}

/// Runs a future in the trace of whoever calls this, wherever it is then polled.
pub fn carried<F: Future>(future: F) -> impl Future<Output = F::Output> {
    future.with_current_context()
}

/// The current trace, if it is sampled, as the exemplar of a value that is observed now.
pub fn exemplar() -> Option<Exemplar> {
    let trace = Context::map_current(|context| {
        let span = context.span();
        let ids = span.span_context();
        (ids.is_valid() && ids.is_sampled()).then(|| ids.trace_id())
    });
    trace.map(|trace| Exemplar { trace, at: clock::now_micros() })
}

/// Tells a provider which trace it is asked in, if it may know.
pub fn outgoing(headers: &mut reqwest::header::HeaderMap) {
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&Context::current(), &mut HeaderInjector(headers));
    });
}
