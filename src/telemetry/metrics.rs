//! Metrics of telemetry itself: log lines, and what reached each sink.

use super::{logs, loss, traces};
use crate::metrics::{EncodeLabelSet, Registry, specs};

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

#[derive(Clone, Debug, EncodeLabelSet)]
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

const fn log_lines(sink: &'static str) -> SignalLabels {
    SignalLabels { signal: "logs", sink }
}

/// Registers the counts of this process. The last success of a sink is shown if it is configured now.
pub fn register(registry: &mut Registry) {
    let levels = logs::levels().iter();
    let levels = levels.map(|(level, count)| (LevelLabels { level }, count.clone()));
    registry.family(&LOG_MESSAGES, levels);
    let lines = loss::lost().map(|(sink, reason, count)| {
        let labels = DropLabels { signal: log_lines(sink.as_str()), reason: reason.as_str() };
        (labels, count)
    });
    let spans = traces::REASONS.into_iter().zip(&traces::counts().dropped);
    let spans = spans.map(|(reason, count)| (DropLabels { signal: SPANS, reason }, count.clone()));
    registry.family(&DROPPED, lines.chain(spans));
    let lines = loss::successes().map(|(sink, at)| (SinkLabels { sink: sink.as_str() }, at));
    let spans = traces::counts().last_success().map(|at| (SinkLabels { sink: SPANS.sink }, at));
    registry.family(&LAST_SUCCESS, lines.chain(spans));
    let lines = || loss::sinks().map(|counts| (log_lines(counts.sink.as_str()), counts));
    let spans = traces::counts();
    let emitted = lines().map(|(labels, counts)| (labels, counts.emitted.clone()));
    registry.family(&EMITTED, emitted.chain([(SPANS, spans.emitted.clone())]));
    let delivered = lines().map(|(labels, counts)| (labels, counts.delivered.clone()));
    registry.family(&DELIVERED, delivered.chain([(SPANS, spans.delivered.clone())]));
}
