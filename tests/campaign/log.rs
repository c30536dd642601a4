//! The log of an engine as callers read it.

use mlsdm::testkit::TestServer;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The largest page size.
const PAGE: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) position: u64,
    pub(crate) kind: String,
    pub(crate) step: Option<u64>,
    pub(crate) request_id: Option<String>,
    /// The number of the call that caused it.
    pub(crate) call: Option<u64>,
    pub(crate) recorded_at: i128,
    pub(crate) chain_hash: String,
    /// The stage of a failed step.
    pub(crate) stage: Option<String>,
}

impl Event {
    fn read(event: &Value) -> Self {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        let trace = event["trace_id"].as_str();
        let recorded_at = event["recorded_at"].as_str().expect("the time of recording");
        Self {
            position: event["position"].as_u64().expect("a position"),
            kind: text("type").expect("a type"),
            step: event["step"].as_u64(),
            request_id: text("request_id"),
            // the upper half tells the calls of this run from all others
            call: trace
                .and_then(|trace| u128::from_str_radix(trace, 16).ok())
                .filter(|trace| trace >> 64 == u128::from(TRACES))
                .map(|trace| trace as u64),
            recorded_at: OffsetDateTime::parse(recorded_at, &Rfc3339)
                .expect("RFC 3339")
                .unix_timestamp_nanos(),
            chain_hash: text("chain_hash").expect("a chain hash"),
            stage: event["clear"]["stage"].as_str().map(str::to_owned),
        }
    }

    pub(crate) fn begins_step(&self) -> bool {
        matches!(self.kind.as_str(), "step.admitted" | "step.rejected")
    }

    pub(crate) fn ends_step(&self) -> bool {
        matches!(self.kind.as_str(), "step.rejected" | "step.completed" | "step.failed")
    }
}

/// The upper half of the trace ids of calls.
const TRACES: u64 = 0x6d6c_7364_6d00_0001;

/// The header `traceparent` of a call.
pub(crate) fn traceparent(call: u64) -> String {
    format!("00-{TRACES:016x}{call:016x}-{:016x}-00", call | 1 << 63)
}

/// Reads the log up to its current end.
pub(crate) async fn read(server: &TestServer, engine: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.position);
        let path = format!("/v1/engines/{engine}/events?after={after}&limit={PAGE}");
        let page = server.read(&path).await;
        let page = page["events"].as_array().expect("events");
        events.extend(page.iter().map(Event::read));
        if page.len() < PAGE {
            return events;
        }
    }
}
