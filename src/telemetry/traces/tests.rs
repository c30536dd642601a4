use opentelemetry::trace::Tracer as _;
use tokio::{net::TcpListener, time::timeout};

use super::*;
use crate::testkit::DEADLINE;

fn tracer(config: &config::Traces) -> Traces {
    Traces::start(config, &Handle::current()).unwrap().unwrap()
}

fn config(endpoint: &str) -> config::Traces {
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_TRACES_SAMPLER", "always_on")];
    let env = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let dir = std::path::PathBuf::from("/nonexistent");
    let sources = config::Sources { file: None, dir, env, flags: Vec::new() };
    config::Config::load(sources).unwrap().config.traces
}

/// Emitted, delivered, dropped because the queue was full, dropped at shutdown, dropped in total.
fn counted() -> [u64; 5] {
    let counts = delivery();
    let dropped = |reason| counts.dropped.get(&reason).unwrap().get();
    let (emitted, delivered) = (counts.emitted.get(), counts.delivered.get());
    let (queue_full, shutdown) = (dropped(Reason::QueueFull), dropped(Reason::Shutdown));
    [emitted, delivered, queue_full, shutdown, counts.dropped_total()]
}

// counts are per process; nextest runs each test of this module in its own

#[tokio::test]
async fn a_span_that_finds_the_queue_full_is_counted_as_dropped() {
    // listens and never responds
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let traces = tracer(&config(&format!("http://{}", silent.local_addr().unwrap())));
    // there is no await in between, so the task does not run
    for _ in 0..10_000 {
        drop(traces.tracer.start("span"));
    }
    assert_eq!(counted(), [10_000, 0, 10_000 - 8_192, 0, 10_000 - 8_192]);
    // the limit of the flush is shorter than the timeout of the export
    timeout(DEADLINE, traces.close()).await.expect("the flush has a limit");
    let [emitted, delivered, full, shutdown, lost] = counted();
    assert_eq!((emitted, delivered, full), (10_000, 0, 10_000 - 8_192));
    assert_eq!((full + shutdown, lost), (10_000, 10_000));
}

#[tokio::test]
async fn an_unreachable_collector_is_retried_until_the_timeout() {
    let mut config = config("http://127.0.0.1:9");
    config.timeout_ms = 300;
    let traces = tracer(&config);
    drop(traces.tracer.start("span"));
    timeout(DEADLINE, traces.close()).await.expect("the retries have a limit");
    assert_eq!(counted(), [1, 0, 0, 0, 1]);
}

#[tokio::test]
async fn a_span_that_ends_after_the_close_is_counted_as_dropped() {
    let traces = tracer(&config("http://127.0.0.1:9"));
    let late = traces.tracer.start("late");
    traces.close().await;
    drop(late);
    assert_eq!(counted(), [1, 0, 0, 1, 1]);
}

#[tokio::test]
async fn without_a_collector_there_are_no_traces() {
    let off = |change: fn(&mut config::Traces)| {
        let mut config = config("http://127.0.0.1:9");
        change(&mut config);
        Traces::start(&config, &Handle::current()).unwrap().is_none()
    };
    assert!(off(|config| config.endpoint.clear()));
    assert!(off(|config| config.disabled = true));
    assert!(off(|config| config.exporter = config::TraceExporter::None));
    assert!(!off(|_| {}));
}
