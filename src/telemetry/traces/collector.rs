//! The HTTP client of the collector, which retries a batch and reports its outcome.
//!
//! The retries of the OTLP exporter block the thread, and the exporter discards the collector's
//! report of a partial success. Both are therefore implemented here.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::{Client, StatusCode, header::RETRY_AFTER, redirect::Policy};
use tokio::time::{Instant, sleep, timeout_at};

use super::delivery::Reason;
use crate::{ids, trust};

/// Longest wait before the first retry; it doubles with each further one, up to `WAIT_MAX`.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Most bytes read of a response.
const RESPONSE_MAX: usize = 64 * 1024;

/// The outcome of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The collector accepted the batch except for `rejected` spans.
    Delivered { rejected: u64 },
    /// The collector did not accept the batch.
    Dropped(Reason),
}

/// The client of a collector. It sends one batch at a time.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    http: Client,
    timeout: Duration,
    outcome: Arc<Mutex<Outcome>>,
}

/// The error for the exporter, which only passes it on. The reason is in the [`Outcome`].
#[derive(Debug, thiserror::Error)]
#[error("the collector did not accept a batch")]
struct NotAccepted;

impl Collector {
    pub(super) fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        // a redirect could send the configured headers to another host
        let http = trust::client().redirect(Policy::none()).build()?;
        let outcome = Arc::new(Mutex::new(Outcome::Dropped(Reason::Refused)));
        Ok(Self { http, timeout, outcome })
    }

    /// The outcome of the last batch. A batch that the exporter never sent was too large.
    pub(super) fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut outcome, Outcome::Dropped(Reason::Refused))
    }

    fn conclude(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    /// Sends a batch until it is accepted, permanently rejected, or the timeout is over.
    async fn send(&self, request: &Request<Bytes>) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let mut wait = WAIT_FIRST;
        loop {
            let (reason, retry_after) = match timeout_at(deadline, self.once(request)).await {
                Err(_) => return Outcome::Dropped(Reason::Timeout),
                Ok(Ok(rejected)) => return Outcome::Delivered { rejected },
                Ok(Err(failure)) => failure,
            };
            let jittered = wait.mul_f64(f64::from(ids::random_bits()) / f64::from(u32::MAX));
            let pause = retry_after.unwrap_or_default().max(jittered);
            if !is_transient(reason) || Instant::now() + pause >= deadline {
                return Outcome::Dropped(reason);
            }
            sleep(pause).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Sends a batch once. Returns the number of rejected spans, or the reason for the failure and
    /// the collector's `Retry-After`.
    async fn once(&self, request: &Request<Bytes>) -> Result<u64, (Reason, Option<Duration>)> {
        let post = self.http.post(request.uri().to_string()).headers(request.headers().clone());
        let sent = post.body(request.body().clone()).send().await;
        let mut response = sent.map_err(|_| (Reason::Unreachable, None))?;
        let status = response.status();
        if status.is_success() {
            let mut body = Vec::new();
            while let Ok(Some(chunk)) = response.chunk().await
                && body.len() + chunk.len() <= RESPONSE_MAX
            {
                body.extend_from_slice(&chunk);
            }
            return Ok(rejected(&body));
        }
        let seconds = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
        let wait = seconds.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Err((by_status(status), wait))
    }
}

/// The rejected spans of a partial success.
fn rejected(body: &[u8]) -> u64 {
    let response = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
    u64::try_from(rejected).unwrap_or_default()
}

fn by_status(status: StatusCode) -> Reason {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Reason::Overloaded,
        status if status.is_server_error() => Reason::Upstream,
        _ => Reason::Refused,
    }
}

const fn is_transient(reason: Reason) -> bool {
    match reason {
        Reason::Unreachable | Reason::Overloaded | Reason::Upstream => true,
        Reason::QueueFull | Reason::Timeout | Reason::Refused | Reason::Shutdown => false,
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.send(&request).await;
        self.conclude(outcome);
        match outcome {
            Outcome::Delivered { .. } => Ok(Response::new(Bytes::new())),
            Outcome::Dropped(_) => Err(NotAccepted.into()),
        }
    }
}
