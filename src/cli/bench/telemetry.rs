//! What telemetry costs: two servers, one with all of it and one with none, under the same load in
//! turns, and a scrape with as many series as there are meant to be.

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

/// Turns of each server; the figures are medians of pairs.
const TURNS: usize = 10;
const CLIENTS: usize = 8;
/// Steps of a turn, and of its part with a single client.
const STEPS: usize = 1_000;
const SINGLE: usize = 200;
const SCRAPES: usize = 50;

/// Series there may be at ten models and thirty routes.
const SERIES_MAX: usize = 2_000;

/// What a scrape has to write at most: these engines and models are told apart.
const ENGINES: &str = "b1,b2,b3,b4,b5,b6,b7,b8,b9";
const MODELS: &str = "m1,m2,m3,m4,m5,m6,m7,m8,m9";

pub(super) async fn run(database: &str, key: &str) -> anyhow::Result<Vec<Row>> {
    let sink = Backend::start(0).await.context("the bench's sink cannot listen")?.root();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port().to_string();
    let loud = [
        ("LOG_LEVEL", "INFO"),
        ("METRICS_PORT", port.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &sink),
        ("MLSDM_LOKI_URL", &sink),
        ("MLSDM__MONITORING__ENGINES", ENGINES),
        ("MLSDM__LLM__MODELS", MODELS),
    ];
    // a SQLite file has one owner
    let other = if database.starts_with("sqlite") {
        format!("{database}-quiet")
    } else {
        database.to_owned()
    };
    let loud = Server::start_with(database, key, &loud).await?;
    let quiet = Server::start_with(&other, key, &[("METRICS_ENABLED", "false")]).await?;
    let metrics = format!("http://127.0.0.1:{port}/metrics");

    say("steps with all telemetry and with none, in turns")?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let first = turn % 2 == 0;
        let pair = if first {
            (Turn::of(&loud, Some(&metrics)).await?, Turn::of(&quiet, None).await?)
        } else {
            let quiet = Turn::of(&quiet, None).await?;
            (Turn::of(&loud, Some(&metrics)).await?, quiet)
        };
        // the first only warms up
        if turn > 0 {
            with.push(pair.0);
            without.push(pair.1);
        }
    }
    let mut rows = compared(&with, &without);
    say("scrapes")?;
    rows.extend(scrapes(&metrics).await?);
    loud.kill().await?;
    quiet.kill().await?;
    Ok(rows)
}

/// One server's turn.
struct Turn {
    /// Microseconds of processor time a step.
    cpu: f64,
    /// Milliseconds of a single client's step.
    p50: f64,
}

impl Turn {
    async fn of(server: &Server, metrics: Option<&str>) -> anyhow::Result<Self> {
        let before = server.cpu_seconds()?;
        load::run(server.address, "/v1/generate", CLIENTS, STEPS).await?;
        if let Some(metrics) = metrics {
            scrape(metrics).await?;
        }
        let cpu = (server.cpu_seconds()? - before) * 1e6 / STEPS as f64;
        let single = load::run(server.address, "/v1/generate", 1, SINGLE).await?;
        let latencies = single.latencies.iter().map(|l| l.as_secs_f64() * 1_000.0);
        Ok(Self { cpu, p50: median(latencies.collect()) })
    }
}

fn compared(with: &[Turn], without: &[Turn]) -> Vec<Row> {
    let of = |turns: &[Turn], figure: fn(&Turn) -> f64| median(turns.iter().map(figure).collect());
    let pairs = || with.iter().zip(without);
    let more = median(pairs().map(|(on, off)| 100.0 * (on.cpu / off.cpu - 1.0)).collect());
    let later = median(pairs().map(|(on, off)| 1_000.0 * (on.p50 - off.p50)).collect());
    let cpu = Row::new("processor time of a step, all telemetry", of(with, |t| t.cpu), "µs");
    let p50 = Row::new("step, one client, all telemetry", of(with, |t| t.p50), "ms");
    vec![
        cpu.beside("none", of(without, |t| t.cpu)),
        Row::new("more processor time, median of pairs", more, "%"),
        p50.beside("none", of(without, |t| t.p50)),
        Row::new("later, median of pairs", later, "µs"),
    ]
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
