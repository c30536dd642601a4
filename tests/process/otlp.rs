//! An OTLP collector in the test process, which records everything it receives over HTTP.

use std::{collections::BTreeMap, io::Read as _, time::Duration};

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    trace::v1::{Span as Sent, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

/// The collector.
pub(crate) struct Sink(MockServer);

/// A received span.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace_id: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) failed: bool,
    pub(crate) time: (u64, u64),
    pub(crate) resource: BTreeMap<String, Value>,
}

impl Sink {
    /// A collector that accepts everything.
    pub(crate) async fn new() -> Self {
        Self::answering(ResponseTemplate::new(200)).await
    }

    /// A collector that answers every request with this status.
    pub(crate) async fn refusing(status: u16) -> Self {
        Self::answering(ResponseTemplate::new(status)).await
    }

    /// A collector that never answers.
    pub(crate) async fn hanging() -> Self {
        Self::answering(ResponseTemplate::new(200).set_delay(Duration::from_hours(1))).await
    }

    /// A collector that answers every request with status 200 and this body.
    pub(crate) async fn saying(answer: &[u8]) -> Self {
        Self::answering(ResponseTemplate::new(200).set_body_bytes(answer)).await
    }

    async fn answering(answer: ResponseTemplate) -> Self {
        let server = MockServer::start().await;
        let traces = Mock::given(method("POST")).and(path("/v1/traces"));
        traces.respond_with(answer).mount(&server).await;
        Self(server)
    }

    /// The URL of the collector.
    pub(crate) fn url(&self) -> String {
        self.0.uri()
    }

    /// All received bytes, headers included.
    pub(crate) async fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for request in self.0.received_requests().await.unwrap() {
            bytes.extend(format!("{} {:?}\n", request.url, request.headers).into_bytes());
            bytes.extend(request.body);
        }
        bytes
    }

    /// The number of received requests.
    pub(crate) async fn batches(&self) -> usize {
        self.0.received_requests().await.unwrap().len()
    }

    /// The spans of all requests.
    pub(crate) async fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for request in self.0.received_requests().await.unwrap() {
            let batch = ExportTraceServiceRequest::decode(&*unpacked(&request)).unwrap();
            for of_resource in batch.resource_spans {
                let resource = attributes(of_resource.resource.unwrap().attributes);
                let sent = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(sent.map(|span| Span::of(span, &resource)));
            }
        }
        spans
    }
}

/// The body of a request, decompressed.
fn unpacked(request: &Request) -> Vec<u8> {
    let mut body = Vec::new();
    match request.headers.get("content-encoding") {
        None => body.clone_from(&request.body),
        Some(encoding) => {
            assert_eq!(encoding, "gzip");
            GzDecoder::new(&*request.body).read_to_end(&mut body).unwrap();
        }
    }
    body
}

impl Span {
    fn of(sent: Sent, resource: &BTreeMap<String, Value>) -> Self {
        assert!(sent.events.is_empty(), "a span with events: {sent:?}");
        assert!(sent.trace_state.is_empty(), "{sent:?}");
        Self {
            kind: sent.kind(),
            name: sent.name,
            trace_id: hex::encode(sent.trace_id),
            id: hex::encode(sent.span_id),
            parent: hex::encode(sent.parent_span_id),
            attributes: attributes(sent.attributes),
            failed: sent.status.is_some_and(|status| status.code() == StatusCode::Error),
            time: (sent.start_time_unix_nano, sent.end_time_unix_nano),
            resource: resource.clone(),
        }
    }

    /// An attribute, or null if it is absent.
    pub(crate) fn get(&self, name: &str) -> Value {
        self.attributes.get(name).cloned().unwrap_or_default()
    }
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, Value> {
    list.into_iter().map(|pair| (pair.key, value(pair.value.and_then(|v| v.value)))).collect()
}

fn value(any: Option<Any>) -> Value {
    match any {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(yes)) => json!(yes),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(|v| value(v.value)).collect(),
        other => panic!("{other:?}"),
    }
}
