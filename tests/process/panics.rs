//! A panic's words may quote what is secret. Each sink of telemetry hears of the panic, and where it
//! was, but never its words. (No request can make the server panic, so the sinks are this process's;
//! what a caller is told of one is tested beside the handlers.)

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

const WORDS: &str = "geheim-panic-4711";

/// What is said of a panic.
const SAID: &str = "a task panicked";

#[track_caller]
fn hears(sink: &str, text: &[u8], what: &str) {
    let text = String::from_utf8_lossy(text);
    assert!(text.contains(what), "{sink}: {text}");
    assert!(!text.contains(WORDS), "{sink}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_words_reach_no_sink() {
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
        panic!("{WORDS}");
    };
    assert!(catch_unwind(AssertUnwindSafe(handler)).is_err());
    traces.unwrap().close().await;
    log.close().await;

    hears("standard output", &fs::read(&output).unwrap(), SAID);
    hears("the file", &fs::read(&file).unwrap(), SAID);
    let lines = serde_json::to_vec(&pushed(&loki).await).unwrap();
    hears("Loki", &lines, SAID);
    hears("the collector", &collector.bytes().await, "handler");
}
