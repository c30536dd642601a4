//! What telemetry costs: servers with one kind of it, with all and with none, under the same load in turns,
//! and a scrape with as many series as there are meant to be.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Instant,
};

use anyhow::{Context as _, ensure};

use super::{
    backend::Backend,
    load, say,
    server::Server,
    table::{Row, median},
};

/// Rounds in which each server has its turn; the figures are medians of what a round gives.
const ROUNDS: usize = 10;
const CLIENTS: usize = 8;
/// Steps of a turn, and of its part with a single client.
const STEPS: usize = 2_000;
const SINGLE: usize = 200;
const SCRAPES: usize = 50;

/// Series there may be at ten models and thirty routes.
const SERIES_MAX: usize = 2_000;

/// Models that are told apart beside the configured one.
const MODELS: &str = "m1,m2,m3,m4,m5,m6,m7,m8,m9";

/// Kinds of telemetry that others are held against.
const NOTHING: &str = "nothing";
const EVERYTHING: &str = "everything";

/// A variable of the environment.
type Variable<'a> = (&'a str, &'a str);

/// A server that tells something of itself.
struct Telling {
    what: &'static str,
    server: Server,
    /// Where it is scraped, in each turn.
    metrics: Option<String>,
    turns: Vec<Turn>,
}

/// One server's turn.
struct Turn {
    /// Microseconds of processor time a step.
    cpu: f64,
    /// Milliseconds of a single client's step.
    p50: f64,
}

pub(super) async fn run(database: &str, key: &str) -> anyhow::Result<Vec<Row>> {
    let sink = Backend::start(0).await.context("the bench's sink cannot listen")?.root();
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
    for (place, (what, env)) in kinds.into_iter().enumerate() {
        // a SQLite file has one owner
        let own = format!("{database}-{place}");
        let own = if database.starts_with("sqlite") { &own } else { database };
        let server = Server::start_with(own, key, &env).await?;
        let metrics = (what == EVERYTHING).then(|| scraped.clone());
        servers.push(Telling { what, server, metrics, turns: Vec::new() });
    }
    say("steps with telemetry and without, in turns")?;
    for round in 0..=ROUNDS {
        // another one begins each round; the first round only warms up
        servers.rotate_left(1);
        for telling in &mut servers {
            let turn = telling.turn().await?;
            if round > 0 {
                telling.turns.push(turn);
            }
        }
    }
    let mut rows = compared(&servers)?;
    say("scrapes")?;
    rows.extend(scrapes(&scraped).await?);
    for telling in servers {
        telling.server.kill().await?;
    }
    Ok(rows)
}

impl Telling {
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

fn compared(servers: &[Telling]) -> anyhow::Result<Vec<Row>> {
    let silent = servers.iter().find(|telling| telling.what == NOTHING);
    let silent = &silent.context("no server without telemetry")?.turns;
    let mut rows = Vec::new();
    for telling in servers.iter().filter(|telling| telling.what != NOTHING) {
        let of = |turns: &[Turn], figure: fn(&Turn) -> f64| {
            median(turns.iter().map(figure).collect::<Vec<_>>())
        };
        let pairs = || telling.turns.iter().zip(silent);
        let more = median(pairs().map(|(on, off)| 100.0 * (on.cpu / off.cpu - 1.0)).collect());
        let later = median(pairs().map(|(on, off)| 1_000.0 * (on.p50 - off.p50)).collect());
        let name = |what: &str| format!("{what}: {}", telling.what);
        rows.push(
            Row::new(name("processor time of a step"), of(&telling.turns, |t| t.cpu), "µs")
                .beside(NOTHING, of(silent, |t| t.cpu)),
        );
        rows.push(Row::new(name("more, median of pairs"), more, "%"));
        rows.push(Row::new(name("one client later, median of pairs"), later, "µs"));
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
        let began = Instant::now();
        let text = scrape(url).await?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
        series = text.lines().filter(|line| !line.starts_with('#')).count();
    }
    ensure!(series > 0, "a scrape without series");
    Ok(vec![
        Row::new("a scrape", median(times), "ms"),
        Row::new("series of it", series as f64, "").beside("most there may be", SERIES_MAX as f64),
    ])
}
