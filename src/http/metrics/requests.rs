//! Metrics of HTTP requests by route template, method and status, and of refused callers.
//!
//! All label values are known at the start: an unknown path, method or status counts under
//! `unmatched`, `_OTHER` or `other`. A series that is possible but rare (`HEAD`, an odd status) is
//! shown once it has counted; the series that an error ratio is made of are shown from the start.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

use crate::{
    auth::metrics::AuthMetrics,
    metrics::{Counter, EncodeLabelSet, Family, Histogram, OTHER, Registry, specs},
    telemetry::traces,
};

specs! {
    HTTP_REQUESTS = Counter "http_requests_total" ["track", "method", "route", "status"] "" "HTTP requests answered, by route template"
    HTTP_DURATION = Histogram "http_server_request_duration_seconds" ["http_request_method", "http_route"] "seconds" "Duration of HTTP requests until the head of their response"
    SHUTDOWN_REFUSALS = Counter "mlsdm_shutdown_refusals_total" [] "" "Requests refused because their engine is shut down (E701)"
    STREAM_FAILURES = Counter "mlsdm_stream_failures_total" [] "" "Streamed answers aborted by an error of the server or a provider after their status 200 was sent"
    RATE_LIMITED = Counter "mlsdm_rate_limited_total" [] "" "Requests refused with 429 because their caller exceeded its rate limit"
}

/// Bounds for the duration of requests: few, because every route has this histogram.
pub(super) const REQUEST_SECONDS: &[f64] =
    &[0.0025, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.5, 5.5, 30.5];

/// The route of paths without an endpoint.
pub const UNMATCHED: &str = "unmatched";

/// The method of requests whose method the route does not have.
const OTHER_METHOD: &str = "_OTHER";

/// Statuses with series of their own.
const STATUSES: [u16; 26] = [
    200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422,
    428, 429, 500, 501, 502, 503, 504,
];

/// Statuses that are shown before they occur.
const EXPECTED: [u16; 6] = [200, 400, 401, 429, 500, 503];
/// The same for `POST`, whose handlers may call a model.
const EXPECTED_POST: [u16; 8] = [200, 400, 401, 429, 500, 502, 503, 504];

#[derive(Clone, Debug, EncodeLabelSet)]
struct RequestLabels {
    track: Arc<str>,
    method: Arc<str>,
    route: Arc<str>,
    status: String,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct DurationLabels {
    http_request_method: Arc<str>,
    http_route: Arc<str>,
}

/// A route of the server.
#[derive(Clone, Debug)]
pub struct Route {
    /// The pattern that the framework reports for a request.
    pub pattern: String,
    /// The template, as in the API document.
    pub template: String,
    /// The methods of the route.
    pub methods: Vec<String>,
}

/// Counts of requests.
#[derive(Debug)]
pub struct HttpMetrics {
    track: Arc<str>,
    /// By pattern.
    routes: HashMap<String, RouteMetrics>,
    unmatched: RouteMetrics,
    /// Refused callers.
    pub auth: AuthMetrics,
    /// Requests refused because their caller exceeded its rate limit.
    pub rate_limited: Counter,
    /// Requests refused because their engine is shut down.
    pub shutdown_refusals: Counter,
    /// Streamed answers aborted by an error that is not their caller's.
    pub stream_failures: Counter,
}

#[derive(Debug)]
struct RouteMetrics {
    template: Arc<str>,
    methods: HashMap<Arc<str>, MethodMetrics>,
}

/// The responses of one method of one route.
#[derive(Debug)]
struct MethodMetrics {
    duration: Histogram,
    /// By status; `None` stands for all that [`STATUSES`] does not list.
    statuses: Family<Option<u16>, SparseCounter>,
}

/// A counter that is shown from the start, or once it has counted.
#[derive(Clone, Debug)]
struct SparseCounter {
    counter: Counter,
    hidden_while_zero: bool,
}

impl TypedMetric for SparseCounter {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for SparseCounter {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.counter.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.hidden_while_zero && self.counter.get() == 0
    }
}

impl MethodMetrics {
    /// Shows these statuses from the start; without any, the duration is hidden at first too.
    fn new(expected: &[u16]) -> Self {
        let counter =
            |hidden_while_zero| SparseCounter { counter: Counter::default(), hidden_while_zero };
        let listed = STATUSES.into_iter().map(|s| (Some(s), counter(!expected.contains(&s))));
        let duration =
            if expected.is_empty() { Histogram::hidden_while_empty } else { Histogram::new };
        Self {
            duration: duration(REQUEST_SECONDS),
            statuses: listed.chain([(None, counter(true))]).collect(),
        }
    }
}

impl RouteMetrics {
    fn new(route: &Route) -> Self {
        let expected = |method: &str| match method {
            "HEAD" => &[][..],
            "POST" => &EXPECTED_POST,
            _ => &EXPECTED,
        };
        let methods = route.methods.iter().map(|method| (method.as_str(), expected(method)));
        Self::build(&route.template, methods.chain([(OTHER_METHOD, &[][..])]))
    }

    fn unmatched() -> Self {
        let shown = ["GET", "POST", OTHER_METHOD].map(|method| (method, &[404][..]));
        let hidden = ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"].map(|method| (method, &[][..]));
        Self::build(UNMATCHED, shown.into_iter().chain(hidden))
    }

    fn build<'a>(template: &str, methods: impl Iterator<Item = (&'a str, &'a [u16])>) -> Self {
        let methods =
            methods.map(|(method, expected)| (method.into(), MethodMetrics::new(expected)));
        Self { template: template.into(), methods: methods.collect() }
    }
}

impl HttpMetrics {
    /// Counts of these routes, in this release track: `stable` or `canary`.
    pub fn new(routes: &[Route], track: &str) -> Self {
        let routes = routes.iter().map(|route| (route.pattern.clone(), RouteMetrics::new(route)));
        Self {
            track: track.into(),
            routes: routes.collect(),
            unmatched: RouteMetrics::unmatched(),
            auth: AuthMetrics::default(),
            rate_limited: Counter::default(),
            shutdown_refusals: Counter::default(),
            stream_failures: Counter::default(),
        }
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let (mut counters, mut durations) = (Vec::new(), Vec::new());
        for RouteMetrics { template, methods } in self.routes.values().chain([&self.unmatched]) {
            for (method, metrics) in methods {
                let (method, route) = (Arc::clone(method), Arc::clone(template));
                for (status, counter) in metrics.statuses.iter() {
                    let status = status.map_or_else(|| OTHER.to_owned(), |code| code.to_string());
                    let (track, method, route) =
                        (Arc::clone(&self.track), Arc::clone(&method), Arc::clone(&route));
                    counters
                        .push((RequestLabels { track, method, route, status }, counter.clone()));
                }
                let labels = DurationLabels { http_request_method: method, http_route: route };
                registry.exemplars(&HTTP_DURATION, labels.clone(), &metrics.duration);
                durations.push((labels, metrics.duration.clone()));
            }
        }
        registry.family(&HTTP_REQUESTS, counters);
        registry.family(&HTTP_DURATION, durations);
        registry.metric(&RATE_LIMITED, &self.rate_limited);
        registry.metric(&SHUTDOWN_REFUSALS, &self.shutdown_refusals);
        registry.metric(&STREAM_FAILURES, &self.stream_failures);
        self.auth.register(registry);
    }

    /// Counts the response to a request that matched this pattern, if any.
    pub fn answered(&self, pattern: Option<&str>, method: &str, status: u16, elapsed: Duration) {
        let route = pattern.and_then(|pattern| self.routes.get(pattern));
        let methods = &route.unwrap_or(&self.unmatched).methods;
        let metrics = methods.get(method).or_else(|| methods.get(OTHER_METHOD));
        let Some(MethodMetrics { duration, statuses }) = metrics else { return };
        duration.observe_with_exemplar(elapsed, traces::exemplar());
        if let Some(status) = statuses.get(&Some(status)).or_else(|| statuses.get(&None)) {
            status.counter.inc();
        }
    }
}
