//! The overhead of telemetry: servers with one kind of it, with all and with none take turns under the same
//! load. Also the duration of a scrape with the maximum number of series.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Instant,
};

use anyhow::{Context as _, ensure};

use super::{
    backend::Backend,
    load,
    progress::say,
    server::{Launcher, Server},
    table::{Row, median},
};

/// Rounds in which each server has a turn. The figures are medians over rounds.
const ROUNDS: usize = 10;
const CLIENTS: usize = 8;
/// Steps of a turn, and of its part with a single client.
const STEPS: usize = 2_000;
const SINGLE: usize = 200;
const SCRAPES: usize = 50;

/// Maximum number of series with ten models and thirty routes.
const SERIES_MAX: usize = 2_000;

/// Models with their own series in addition to the configured one.
const MODELS: &str = "m1,m2,m3,m4,m5,m6,m7,m8,m9";

/// Configurations that the others are compared with.
const NOTHING: &str = "nothing";
const EVERYTHING: &str = "everything";

/// A variable of the environment.
type Variable<'a> = (&'a str, &'a str);

/// A server with one kind of telemetry.
struct Candidate {
    name: &'static str,
    server: Server,
    /// URL of the metrics, scraped in each turn.
    metrics: Option<String>,
    turns: Vec<Turn>,
}

/// The figures of one turn.
struct Turn {
    /// Processor time per step in microseconds.
    cpu: f64,
    /// Latency of a step of a single client in milliseconds.
    p50: f64,
}

pub(super) async fn run(launcher: &Launcher) -> anyhow::Result<Vec<Row>> {
    let sink = Backend::start(0).await.context("the sink of the benchmark cannot listen")?.root();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port().to_string();
    let metrics = [("METRICS_PORT", port.as_str()), ("MLSDM__LLM__MODELS", MODELS)];
    let quiet = [("METRICS_ENABLED", "false")];
    let lines = [("LOG_LEVEL", "INFO")];
    let loki = [("LOG_LEVEL", "INFO"), ("MLSDM_LOKI_URL", &sink)];
    let spans = [("OTEL_EXPORTER_OTLP_ENDPOINT", sink.as_str())];
    let tenth = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.1")];
    let scraped = format!("http://127.0.0.1:{port}/metrics");
    let kinds: [(&'static str, Vec<Variable<'_>>); 6] = [
        (NOTHING, quiet.to_vec()),
        ("log lines", [&quiet[..], &lines].concat()),
        ("log lines, to Loki too", [&quiet[..], &loki].concat()),
        ("spans of a tenth", [&quiet[..], &spans, &tenth].concat()),
        ("spans", [&quiet[..], &spans].concat()),
        (EVERYTHING, [&metrics[..], &loki, &spans].concat()),
    ];
    let mut servers = Vec::new();
    for (index, (name, env)) in kinds.into_iter().enumerate() {
        // a SQLite file has one owner
        let is_sqlite = launcher.database.starts_with("sqlite");
        let suffix = if is_sqlite { format!("-{index}") } else { String::new() };
        let server = launcher.with_database_suffix(&suffix).start_with(&env).await?;
        let metrics = (name == EVERYTHING).then(|| scraped.clone());
        servers.push(Candidate { name, server, metrics, turns: Vec::new() });
    }
    say("steps with and without telemetry, in turns")?;
    for round in 0..=ROUNDS {
        // another server begins each round; the first round is a warm-up
        servers.rotate_left(1);
        for candidate in &mut servers {
            let turn = candidate.turn().await?;
            if round > 0 {
                candidate.turns.push(turn);
            }
        }
    }
    let mut rows = compared(&servers)?;
    say("scrapes")?;
    rows.extend(scrapes(&scraped).await?);
    for candidate in servers {
        candidate.server.kill().await?;
    }
    Ok(rows)
}

impl Candidate {
    async fn turn(&self) -> anyhow::Result<Turn> {
        let address = self.server.address;
        let before = self.server.cpu_seconds()?;
        load::run(address, "/v1/generate", CLIENTS, STEPS).await?;
        if let Some(metrics) = &self.metrics {
            scrape(metrics).await?;
        }
        let cpu = (self.server.cpu_seconds()? - before) * 1e6 / STEPS as f64;
        let single = load::run(address, "/v1/generate", 1, SINGLE).await?;
        let latencies = single.latencies.iter().map(|l| l.as_secs_f64() * 1_000.0);
        Ok(Turn { cpu, p50: median(latencies.collect()) })
    }
}

fn compared(servers: &[Candidate]) -> anyhow::Result<Vec<Row>> {
    let baseline = servers.iter().find(|candidate| candidate.name == NOTHING);
    let baseline = &baseline.context("no server without telemetry")?.turns;
    let mut rows = Vec::new();
    for candidate in servers.iter().filter(|candidate| candidate.name != NOTHING) {
        let of = |turns: &[Turn], figure: fn(&Turn) -> f64| {
            median(turns.iter().map(figure).collect::<Vec<_>>())
        };
        let pairs = || candidate.turns.iter().zip(baseline);
        let more = median(pairs().map(|(on, off)| 100.0 * (on.cpu / off.cpu - 1.0)).collect());
        let later = median(pairs().map(|(on, off)| 1_000.0 * (on.p50 - off.p50)).collect());
        let name = |figure: &str| format!("{figure}: {}", candidate.name);
        rows.push(
            Row::new(name("processor time per step"), of(&candidate.turns, |t| t.cpu), "µs")
                .limit(NOTHING, of(baseline, |t| t.cpu)),
        );
        rows.push(Row::new(name("additional processor time, median of pairs"), more, "%"));
        rows.push(Row::new(name("additional latency of one client, median of pairs"), later, "µs"));
    }
    Ok(rows)
}

async fn scrape(url: &str) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    Ok(client.get(url).send().await?.error_for_status()?.text().await?)
}

async fn scrapes(url: &str) -> anyhow::Result<Vec<Row>> {
    let mut times = Vec::with_capacity(SCRAPES);
    let mut series = 0;
    for _ in 0..SCRAPES {
        let started = Instant::now();
        let text = scrape(url).await?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
        series = text.lines().filter(|line| !line.starts_with('#')).count();
    }
    ensure!(series > 0, "a scrape returned no series");
    Ok(vec![
        Row::new("a scrape", median(times), "ms"),
        Row::new("series per scrape", series as f64, "").limit("maximum", SERIES_MAX as f64),
    ])
}
