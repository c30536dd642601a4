//! `mlsdm telemetry doctor`: sends one log line and one span to every configured sink with the code of the
//! server, scrapes the metrics, and reports the results.
//!
//! Accepted does not mean visible: the report names the line and the trace to look for.

use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::{
    cli::{Context, client, client::Client, context::Finding, output},
    config::{self, Config, Level, Logging, TraceExporter, TraceSampler},
    ids,
    telemetry::{
        delivery::Sink,
        logs::{self, LogError},
        traces::{self, TARGET, Traces},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// URL of the Prometheus that scrapes the server, such as `http://127.0.0.1:9091`; checks that it does.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
}

/// The result for one sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Arrived,
    Lost,
    /// The sink is not configured.
    Off,
}

#[derive(Debug, Serialize)]
struct Line {
    signal: &'static str,
    sink: &'static str,
    status: Status,
    /// The observation; for a loss, the remediation.
    detail: String,
}

impl Line {
    fn new(signal: &'static str, sink: &'static str, lost: Option<String>, good: &str) -> Self {
        let status = if lost.is_some() { Status::Lost } else { Status::Arrived };
        Self { signal, sink, status, detail: lost.unwrap_or_else(|| good.to_owned()) }
    }

    fn off(signal: &'static str, sink: &'static str, how: &str) -> Self {
        Self { signal, sink, status: Status::Off, detail: how.to_owned() }
    }
}

/// The exit code is 1 if something is lost.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let config = &context.loaded()?.config;
    let check = ids::request_id();
    let (trace_id, mut lines) = sent(config, &check).await?;
    lines.push(scrape(context, config).await);
    if let Some(url) = args.prometheus {
        lines.push(prometheus(&client::parse_server(&url)?).await);
    }
    let lost = lines.iter().filter(|line| line.status == Status::Lost).count();
    context.print(&json!({"check": check, "trace_id": trace_id, "sinks": lines}), render)?;
    if lost == 0 { Ok(()) } else { Err(Finding(format!("{lost} sinks received nothing")).into()) }
}

/// Sends a line and a span, flushes both like a stopping server, and reads the delivery counts.
async fn sent(config: &Config, check: &str) -> anyhow::Result<(Option<String>, Vec<Line>)> {
    let (mut logging, mut tracing) = (config.logging.clone(), config.traces.clone());
    // test the transport, whatever level and sampler are configured
    (logging.level, tracing.sampler) = (Level::Info, TraceSampler::AlwaysOn);
    let traces = Traces::start(&tracing, &Handle::current())?;
    let init = |logging: &Logging| {
        logs::init(logging, &config.monitoring.env, std::io::stderr(), traces.as_ref())
    };
    let (log, no_file) = match init(&logging) {
        Err(refused @ LogError::File { .. }) => {
            logging = logging.without_file();
            (init(&logging)?, Some(refused.to_string()))
        }
        log => (log?, None),
    };
    let trace_id = {
        let span = tracing::info_span!(target: TARGET, "telemetry.doctor");
        let _inside = span.enter();
        let trace_id = traces::context_of(&span).map(|ids| ids.trace_id().to_string());
        tracing::info!(event_type = "telemetry.doctor", check, trace_id, "telemetry check");
        trace_id
    };
    let collector = traces.is_some();
    if let Some(traces) = traces {
        traces.close().await;
    }
    log.close().await;
    let lines = vec![
        logged(
            Sink::Stdout,
            "printed on standard error here; a server prints on standard output, which an agent ships",
        ),
        if no_file.is_some() {
            Line::new("logs", Sink::File.as_str(), no_file, "")
        } else if logging.file().is_some() {
            logged(Sink::File, "written")
        } else {
            Line::off("logs", Sink::File.as_str(), "logging.file is not set")
        },
        if logging.loki().is_some() {
            logged(Sink::Loki, "accepted by Loki")
        } else {
            Line::off("logs", Sink::Loki.as_str(), "MLSDM_LOKI_URL is not set")
        },
        if collector { exported(&config.traces) } else { not_exported(&config.traces) },
    ];
    Ok((trace_id, lines))
}

fn logged(sink: Sink, good: &str) -> Line {
    let delivery = sink.delivery();
    let dropped = delivery.dropped.iter().filter(|(_, count)| count.get() > 0);
    let reasons: Vec<&str> = dropped.map(|(reason, _)| reason.as_str()).collect();
    let taken = delivery.last_success().is_some_and(|at| at.get() > 0.0);
    let fix = match sink {
        Sink::Stdout => "check the destination of standard output",
        Sink::File => "check that the directory of logging.file is writable and has space",
        Sink::Loki => "check that Loki is at MLSDM_LOKI_URL, and its log",
    };
    let lost = (!taken).then(|| format!("{}; {fix}", reasons.join(", ")));
    Line::new("logs", sink.as_str(), lost, good)
}

fn not_exported(config: &config::Traces) -> Line {
    let why = if config.disabled {
        "OTEL_SDK_DISABLED is true"
    } else if config.exporter == TraceExporter::None {
        "OTEL_TRACES_EXPORTER is none"
    } else {
        "OTEL_EXPORTER_OTLP_ENDPOINT is not set"
    };
    Line::off("traces", "otlp", why)
}

fn exported(config: &config::Traces) -> Line {
    let delivery = traces::delivery();
    let dropped = delivery.dropped.iter().filter(|(_, count)| count.get() > 0);
    let reasons: Vec<&str> = dropped.map(|(reason, _)| reason.as_str()).collect();
    let lost = (delivery.delivered.get() == 0).then(|| {
        let fix = "check that a collector accepts OTLP over HTTP at OTEL_EXPORTER_OTLP_ENDPOINT";
        format!("{}; {fix}", reasons.join(", "))
    });
    let good = if config.sampler == TraceSampler::AlwaysOff {
        "accepted by the collector; a server exports no spans: OTEL_TRACES_SAMPLER is always_off"
    } else {
        "accepted by the collector"
    };
    Line::new("traces", "otlp", lost, good)
}

/// Checks that the server exposes its metrics.
async fn scrape(context: &Context, config: &Config) -> Line {
    let (signal, sink) = ("metrics", "scrape");
    if !config.monitoring.enabled {
        return Line::off(signal, sink, "METRICS_ENABLED is false");
    }
    let port = config.monitoring.metrics_port;
    let asked = async { context.metrics_client()?.text("/metrics").await }.await;
    let lost = match asked {
        Ok((status, text)) if status.is_success() => {
            let other = !text.contains("\nmlsdm_build_info{");
            other.then(|| {
                format!("port {port} serves metrics, but not those of MLSDM; check METRICS_PORT")
            })
        }
        Ok((status, _)) => {
            Some(format!("port {port} responds with status {status}; check METRICS_PORT"))
        }
        Err(error) => Some(error.to_string()),
    };
    Line::new(signal, sink, lost, &format!("port {port} serves them"))
}

/// Checks that a Prometheus scrapes the server.
async fn prometheus(url: &str) -> Line {
    // rules and dashboards select this job
    let query = [("query", "mlsdm_build_info{job=\"mlsdm\"}".to_owned())];
    let asked =
        async { Client::remote(url.to_owned(), None)?.get("/api/v1/query", &query).await }.await;
    let lost = match asked {
        Ok(answer) => {
            let none = answer["data"]["result"].as_array().is_none_or(Vec::is_empty);
            none.then(|| {
                "it has no mlsdm_build_info of job `mlsdm`, which rules and dashboards select; check its targets"
                    .to_owned()
            })
        }
        Err(error) => Some(error.to_string()),
    };
    Line::new("metrics", "prometheus", lost, "it scrapes a server")
}

fn render(value: &Value) -> String {
    let row = |line: &Value| {
        ["status", "signal", "sink", "detail"].map(|key| output::cell(line.get(key))).to_vec()
    };
    let rows: Vec<_> = value["sinks"].as_array().into_iter().flatten().map(row).collect();
    let table = output::table(&[], &rows);
    let received = |sink: &str| {
        let mut lines = value["sinks"].as_array().into_iter().flatten();
        lines.any(|line| line["sink"] == sink && line["status"] == "arrived")
    };
    let loki =
        received("loki").then(|| format!("  Loki   {{job=~\"mlsdm.*\"}} |= {}\n", value["check"]));
    let trace = value["trace_id"].as_str().map(|id| format!("  Tempo  {id}\n"));
    let places = [loki, trace].into_iter().flatten().collect::<String>();
    if places.is_empty() { table } else { format!("{table}\nLook for them in:\n{places}") }
}
