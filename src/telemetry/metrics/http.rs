//! HTTP requests by route template, method and status.
//!
//! All label values are known at the start: a path, method or status of a caller's invention counts
//! under `unmatched`, `_OTHER` or `other`. What may be asked for but hardly ever is (HEAD, an odd
//! status) shows once it has happened; what an error ratio is made of shows from the start.

use std::{collections::HashMap, fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric, counter::Counter},
};

use super::{
    Histogram, OTHER, contract,
    histogram::REQUEST_SECONDS,
    register::{Labels, Register},
};

/// The route of paths that nothing is served at.
pub const UNMATCHED: &str = "unmatched";

/// The method of requests whose method the route does not have.
const OTHER_METHOD: &str = "_OTHER";

/// Statuses told apart.
const STATUSES: [u16; 26] = [
    200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422,
    428, 429, 500, 501, 502, 503, 504,
];

/// Statuses that show before they happen: of every route, and what those say beside who ask others.
const EXPECTED: [u16; 6] = [200, 400, 401, 429, 500, 503];
const EXPECTED_POST: [u16; 8] = [200, 400, 401, 429, 500, 502, 503, 504];

/// A route as the server has it.
#[derive(Clone, Debug)]
pub struct Route {
    /// The pattern by which the framework tells it.
    pub pattern: String,
    /// The template, as the API document writes it.
    pub template: String,
    /// Its methods.
    pub methods: Vec<String>,
}

/// The numbers of all routes.
#[derive(Debug)]
pub struct Http {
    routes: HashMap<String, Methods>,
    unmatched: Methods,
    /// Requests refused because their caller asked too often.
    pub rate_limited: Counter,
    /// Requests refused because their engine is shut down.
    pub shut_down: Counter,
    /// Streamed answers that broke off by an error that is not their caller's.
    pub broken_off: Counter,
}

type Methods = HashMap<String, Answers>;

/// The answers of one method of one route.
#[derive(Clone, Debug)]
struct Answers {
    duration: Histogram,
    /// By the places of [`STATUSES`], and one for all others.
    statuses: Vec<Shown>,
}

/// A counter that shows from the start, or once it has moved.
#[derive(Clone, Debug)]
struct Shown {
    counter: Counter,
    always: bool,
}

impl TypedMetric for Shown {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Shown {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.counter.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        !self.always && self.counter.get() == 0
    }
}

impl Answers {
    /// Those that show from the start; with none the duration waits too.
    fn new(expected: &[u16]) -> Self {
        let shown = |always| Shown { counter: Counter::default(), always };
        let known = STATUSES.iter().map(|status| shown(expected.contains(status)));
        let duration = if expected.is_empty() { Histogram::quiet } else { Histogram::new };
        Self {
            duration: duration(REQUEST_SECONDS),
            statuses: known.chain([shown(false)]).collect(),
        }
    }
}

impl Http {
    pub(super) fn new(register: &Register, routes: &[Route], track: &str) -> Self {
        let (mut counters, mut durations) = (Vec::new(), Vec::new());
        let mut add = |template: &str, methods: &Methods| {
            for (method, answers) in methods {
                durations.push((
                    vec![
                        ("http_request_method", method.clone()),
                        ("http_route", template.to_owned()),
                    ],
                    answers.duration.clone(),
                ));
                let names = STATUSES.iter().map(ToString::to_string).chain([OTHER.to_owned()]);
                for (status, shown) in names.zip(&answers.statuses) {
                    counters.push((labels(track, method, template, status), shown.clone()));
                }
            }
        };
        let mut known = HashMap::new();
        for route in routes {
            let methods = of_route(route);
            add(&route.template, &methods);
            known.insert(route.pattern.clone(), methods);
        }
        let unmatched = unmatched();
        add(UNMATCHED, &unmatched);
        register.series(&contract::HTTP_REQUESTS, counters);
        register.traced(&contract::HTTP_DURATION, &durations);
        register.series(&contract::HTTP_DURATION, durations);
        let rate_limited = register.one(&contract::RATE_LIMITED, Counter::default());
        let shut_down = register.one(&contract::SHUTDOWN_REFUSALS, Counter::default());
        let broken_off = register.one(&contract::STREAM_FAILURES, Counter::default());
        Self { routes: known, unmatched, rate_limited, shut_down, broken_off }
    }

    /// Counts an answer to a request that met this pattern, if any.
    pub fn answered(&self, pattern: Option<&str>, method: &str, status: u16, took: Duration) {
        let methods = pattern.and_then(|pattern| self.routes.get(pattern));
        let methods = methods.unwrap_or(&self.unmatched);
        let answers = methods.get(method).or_else(|| methods.get(OTHER_METHOD));
        let Some(answers) = answers else { return };
        answers.duration.observe_in_trace(took);
        let place = STATUSES.iter().position(|known| *known == status);
        if let Some(shown) = answers.statuses.get(place.unwrap_or(STATUSES.len())) {
            shown.counter.inc();
        }
    }
}

fn of_route(route: &Route) -> Methods {
    let expected = |method: &str| match method {
        "HEAD" => &[][..],
        "POST" => &EXPECTED_POST,
        _ => &EXPECTED,
    };
    let named = route.methods.iter().map(|method| (method.clone(), Answers::new(expected(method))));
    named.chain([(OTHER_METHOD.to_owned(), Answers::new(&[]))]).collect()
}

fn unmatched() -> Methods {
    let shown = ["GET", "POST", OTHER_METHOD].map(|method| (method, &[404][..]));
    let quiet = ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"].map(|method| (method, &[][..]));
    let all = shown.into_iter().chain(quiet);
    all.map(|(method, expected)| (method.to_owned(), Answers::new(expected))).collect()
}

fn labels(track: &str, method: &str, route: &str, status: String) -> Labels {
    vec![
        ("track", track.to_owned()),
        ("method", method.to_owned()),
        ("route", route.to_owned()),
        ("status", status),
    ]
}
