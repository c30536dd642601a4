//! A panic's words may quote what is secret. Each sink of telemetry hears of the panic, and where it
//! was, but never its words. (No request can make the server panic, so the sinks are this process's;
//! what a caller is told of one is tested beside the handlers.)

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use loki_api::{logproto::PushRequest, prost::Message as _};
use mlsdm::{
    config::{Config, Sources},
    telemetry::{
        logs,
        traces::{TARGET, Traces},
    },
};
use tokio::runtime::Handle;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const WORDS: &str = "geheim-panic-4711";

/// What is said of a panic.
const SAID: &str = "a task panicked";

/// Standard output.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[track_caller]
fn hears(sink: &str, text: &[u8], what: &str) {
    let text = String::from_utf8_lossy(text);
    assert!(text.contains(what), "{sink}: {text}");
    assert!(!text.contains(WORDS), "{sink}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_words_reach_no_sink() {
    let (sinks, folder) = (MockServer::start().await, tempfile::tempdir().unwrap());
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&sinks).await;
    let file = folder.path().join("log");
    let env = [
        ("MLSDM_LOKI_URL", sinks.uri()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sinks.uri()),
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
    let output = Output::default();
    let traces = Traces::start(&config.traces, &Handle::current()).unwrap();
    let log = logs::init(&config.logging, "test", output.clone(), traces.as_ref()).unwrap();

    let handler = || {
        let _span = tracing::info_span!(target: TARGET, "handler").entered();
        panic!("{WORDS}");
    };
    assert!(catch_unwind(AssertUnwindSafe(handler)).is_err());
    traces.unwrap().close().await;
    log.close().await;

    hears("standard output", &output.0.lock().unwrap(), SAID);
    hears("the file", &std::fs::read(&file).unwrap(), SAID);
    let (mut lines, mut spans) = (Vec::new(), Vec::new());
    for request in sinks.received_requests().await.unwrap() {
        if request.url.path() == "/v1/traces" {
            spans.extend(request.body);
        } else {
            let plain = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
            let streams = PushRequest::decode(&*plain).unwrap().streams;
            lines.extend(format!("{streams:?}").into_bytes());
        }
    }
    hears("Loki", &lines, SAID);
    hears("the collector", &spans, "handler");
}
