//! Metrics of telemetry itself: log lines, and what reached each sink.

use super::{
    delivery::{Delivery, Sink},
    logs, traces,
};
use crate::metrics::{Counter, EncodeLabelSet, FloatGauge, Registry, specs};

specs! {
    LOG_MESSAGES = Counter "mlsdm_log_messages_total" ["level"] "" "Log lines"
    DROPPED = Counter "mlsdm_telemetry_dropped_total" ["signal", "sink", "reason"] "" "Log lines and spans that did not reach a sink"
    EMITTED = Counter "mlsdm_telemetry_emitted_total" ["signal", "sink"] "" "Log lines and spans emitted for a sink: delivered, dropped, or still waiting"
    DELIVERED = Counter "mlsdm_telemetry_delivered_total" ["signal", "sink"] "" "Log lines and spans accepted by a sink"
    LAST_SUCCESS = Gauge "mlsdm_telemetry_last_success_timestamp_seconds" ["sink"] "seconds" "Last delivery to a configured sink, in seconds since the Unix epoch; 0 if there was none"
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct SinkLabels {
    sink: &'static str,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet)]
struct SignalLabels {
    signal: &'static str,
    sink: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct DropLabels {
    #[prometheus(flatten)]
    signal: SignalLabels,
    reason: &'static str,
}

/// The labels of spans.
const SPANS: SignalLabels = SignalLabels { signal: "traces", sink: "otlp" };

const fn log_lines(sink: Sink) -> SignalLabels {
    SignalLabels { signal: "logs", sink: sink.as_str() }
}

/// The counts of a sink that have no reason.
struct Totals {
    emitted: &'static Counter,
    delivered: &'static Counter,
    last_success: Option<&'static FloatGauge>,
}

fn totals<R: PartialEq>(delivery: &'static Delivery<R>) -> Totals {
    let Delivery { emitted, delivered, .. } = delivery;
    Totals { emitted, delivered, last_success: delivery.last_success() }
}

/// Registers the counts of this process. The last success of a sink is shown if it is configured
/// now.
pub fn register(registry: &mut Registry) {
    let levels = logs::levels().iter();
    let levels = levels.map(|(level, count)| (LevelLabels { level }, count.clone()));
    registry.family(&LOG_MESSAGES, levels);
    let lines = Sink::ALL.into_iter().flat_map(|sink| {
        let signal = log_lines(sink);
        sink.delivery().dropped.iter().map(move |(reason, count)| (signal, reason.as_str(), count))
    });
    let spans = traces::delivery().dropped.iter();
    let spans = spans.map(|(reason, count)| (SPANS, reason.as_str(), count));
    let dropped = lines.chain(spans);
    let dropped =
        dropped.map(|(signal, reason, count)| (DropLabels { signal, reason }, count.clone()));
    registry.family(&DROPPED, dropped);
    let lines = Sink::ALL.map(|sink| (log_lines(sink), totals(sink.delivery())));
    let sinks: Vec<_> = lines.into_iter().chain([(SPANS, totals(traces::delivery()))]).collect();
    let emitted = sinks.iter().map(|(labels, totals)| (*labels, totals.emitted.clone()));
    registry.family(&EMITTED, emitted);
    let delivered = sinks.iter().map(|(labels, totals)| (*labels, totals.delivered.clone()));
    registry.family(&DELIVERED, delivered);
    let successes = sinks.iter().filter_map(|(SignalLabels { sink, .. }, totals)| {
        Some((SinkLabels { sink }, totals.last_success?.clone()))
    });
    registry.family(&LAST_SUCCESS, successes);
}
