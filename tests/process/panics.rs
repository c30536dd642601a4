//! The message of a panic may quote secrets. Every telemetry sink gets the location of a panic, and
//! none gets its message. No request can make the server panic, so the test panics in its own
//! process; the response to a panic is tested next to the handlers.

use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use mlsdm::{
    config::{Config, Sources},
    telemetry::{
        logs,
        traces::{TARGET, Traces},
    },
};
use tokio::runtime::Handle;
use wiremock::ResponseTemplate;

use crate::{
    loki::{fake, pushed},
    otlp::Sink,
};

/// The message of the panic.
const PANIC_MESSAGE: &str = "geheim-panic-4711";

/// The log message for a panic.
const LOG_MESSAGE: &str = "a task panicked";

#[track_caller]
fn assert_reported(sink: &str, text: &[u8], what: &str) {
    let text = String::from_utf8_lossy(text);
    assert!(text.contains(what), "{sink}: {text}");
    assert!(!text.contains(PANIC_MESSAGE), "{sink}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_of_a_panic_reaches_no_sink() {
    let loki = fake(ResponseTemplate::new(204)).await;
    let collector = Sink::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (output, file) = (folder.path().join("output"), folder.path().join("log"));
    let env = [
        ("MLSDM_LOKI_URL", loki.uri()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("MLSDM__LOGGING__FILE", file.display().to_string()),
        ("LOG_LEVEL", "TRACE".to_owned()),
    ];
    let sources = Sources {
        file: None,
        dir: PathBuf::from("/nonexistent"),
        env: env.map(|(name, value)| (name.to_owned(), value)),
        flags: Vec::new(),
    };
    let config = Config::load(sources).unwrap().config;
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let traces = Traces::start(&config.traces, &Handle::current()).unwrap();
    let printed = File::create(&output).unwrap();
    let log = logs::init(&config.logging, "test", printed, traces.as_ref()).unwrap();

    let handler = || {
        let _span = tracing::info_span!(target: TARGET, "handler").entered();
        panic!("{PANIC_MESSAGE}");
    };
    assert!(catch_unwind(AssertUnwindSafe(handler)).is_err());
    traces.unwrap().close().await;
    log.close().await;

    assert_reported("standard output", &fs::read(&output).unwrap(), LOG_MESSAGE);
    assert_reported("the file", &fs::read(&file).unwrap(), LOG_MESSAGE);
    let lines = serde_json::to_vec(&pushed(&loki).await).unwrap();
    assert_reported("Loki", &lines, LOG_MESSAGE);
    assert_reported("the collector", &collector.bytes().await, "handler");
}
