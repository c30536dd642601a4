//! A target that exports the metrics of a server, whose counters grow with every scrape.

use std::sync::atomic::{AtomicU64, Ordering};

use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// Requests between two scrapes: one in ten thousand is within the limits of a release.
const REQUESTS: u64 = 10_000;

/// Growth between two scrapes.
pub(super) struct Exporter {
    pub(super) track: &'static str,
    /// Requests answered with 500.
    pub(super) failed: u64,
    /// Log lines at level ERROR for each thousand requests.
    pub(super) error_lines: u64,
}

impl Exporter {
    pub(super) async fn start(self) -> MockServer {
        let server = MockServer::start().await;
        let scrapes = Scrapes { exporter: self, count: AtomicU64::new(0) };
        Mock::given(any()).respond_with(scrapes).mount(&server).await;
        server
    }
}

struct Scrapes {
    exporter: Exporter,
    count: AtomicU64,
}

impl Respond for Scrapes {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let Exporter { track, failed, error_lines } = self.exporter;
        let scrapes = self.count.fetch_add(1, Ordering::Relaxed);
        let (requests, failed) = (scrapes * REQUESTS, scrapes * failed);
        let lines = scrapes * error_lines * REQUESTS / 1000;
        let text = format!(
            "http_requests_total{{track=\"{track}\",route=\"/v1/generate\",status=\"200\"}} {requests}\n\
             http_requests_total{{track=\"{track}\",route=\"/v1/generate\",status=\"500\"}} {failed}\n\
             http_requests_total{{track=\"{track}\",route=\"/health/ready\",status=\"503\"}} 0\n\
             mlsdm_stream_failures_total 0\n\
             mlsdm_emergency_shutdowns_total{{engine=\"default\"}} 0\n\
             mlsdm_log_messages_total{{level=\"ERROR\"}} {lines}\n\
             mlsdm_generation_duration_seconds_bucket{{le=\"0.25\"}} {requests}\n\
             mlsdm_generation_duration_seconds_bucket{{le=\"+Inf\"}} {requests}\n\
             process_start_time_seconds 1000\n"
        );
        ResponseTemplate::new(200).set_body_raw(text, "text/plain; version=0.0.4")
    }
}
