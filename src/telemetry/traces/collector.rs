//! The collector, asked over HTTP: who is told what became of a batch, and how it is tried again.
//!
//! The exporter's own retries sleep on the thread, and it keeps no word of a batch that was taken in
//! part; so both are done here.

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

use super::counts::Reason;
use crate::ids;

/// Longest wait before the first try again; doubled for each further one, up to the longest ever.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Largest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken, but for so many spans.
    Taken { rejected: u64 },
    /// It was not.
    Lost(Reason),
}

/// The client of a collector. The batches of one go one after the other.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    http: Client,
    timeout: Duration,
    outcome: Arc<Mutex<Outcome>>,
}

/// Why a batch was not taken. The exporter only passes it on; nobody reads it.
#[derive(Debug, thiserror::Error)]
#[error("the collector did not take a batch")]
struct NotTaken;

impl Collector {
    pub(super) fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        // whoever was first in this process has installed the same
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        // a redirect is not followed: it could take headers elsewhere
        let http = Client::builder().redirect(Policy::none()).build()?;
        let outcome = Arc::new(Mutex::new(Outcome::Lost(Reason::Refused)));
        Ok(Self { http, timeout, outcome })
    }

    /// What became of the last batch. One that was never sent was too large.
    pub(super) fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut outcome, Outcome::Lost(Reason::Refused))
    }

    fn conclude(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    /// Sends a batch until it is taken, refused for good, or out of time.
    async fn send(&self, request: &Request<Bytes>) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let mut wait = WAIT_FIRST;
        loop {
            let (reason, asked) = match timeout_at(deadline, self.once(request)).await {
                Err(_) => return Outcome::Lost(Reason::Timeout),
                Ok(Ok(rejected)) => return Outcome::Taken { rejected },
                Ok(Err(failure)) => failure,
            };
            let jittered = wait.mul_f64(f64::from(ids::random_bits()) / f64::from(u32::MAX));
            let pause = asked.unwrap_or_default().max(jittered);
            if !may_pass(reason) || Instant::now() + pause >= deadline {
                return Outcome::Lost(reason);
            }
            sleep(pause).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Gives how many spans were not taken, or why none was and how long the collector wants to be
    /// left alone.
    async fn once(&self, request: &Request<Bytes>) -> Result<u64, (Reason, Option<Duration>)> {
        let post = self.http.post(request.uri().to_string()).headers(request.headers().clone());
        let sent = post.body(request.body().clone()).send().await;
        let mut response = sent.map_err(|_| (Reason::Unreachable, None))?;
        let status = response.status();
        if status.is_success() {
            let mut body = Vec::new();
            while let Ok(Some(chunk)) = response.chunk().await
                && body.len() + chunk.len() <= ANSWER_MAX
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

/// Spans that a collector says it did not take.
fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
    u64::try_from(rejected).unwrap_or_default()
}

fn by_status(status: StatusCode) -> Reason {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Reason::Overloaded,
        status if status.is_server_error() => Reason::Upstream,
        _ => Reason::Refused,
    }
}

const fn may_pass(reason: Reason) -> bool {
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
            Outcome::Taken { .. } => Ok(Response::new(Bytes::new())),
            Outcome::Lost(_) => Err(NotTaken.into()),
        }
    }
}
