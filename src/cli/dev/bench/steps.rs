//! Governed steps over HTTP against a separate server process, then its resident memory, its cold start and
//! the replay of its log.

use std::{sync::Arc, time::Instant};

use super::{
    load,
    progress::say,
    server::{Launcher, Server},
    table::{Row, median},
};
use crate::{
    domain::ids::{EngineId, Position},
    store::{Options, Store, keys::ContentKey, replay, state_fold::PAGE},
};

const CLIENTS: usize = 64;
const CAPACITY: usize = 20_000;
/// Requests of the single client, and commits for comparison.
const SINGLE: usize = 400;
/// Repetitions of server starts, replays and raw reads.
const REPEATS: usize = 3;

pub(super) async fn run(
    launcher: &Launcher,
    steps: usize,
    grow: Option<usize>,
) -> anyhow::Result<Vec<Row>> {
    let id = std::process::id();
    let [empty, full] = ["empty", "full"].map(|name| format!("bench-{id}-{name}"));
    let mut rows = Vec::new();
    say("bare commits")?;
    // creates the tables
    launcher.start().await?.kill().await?;
    let commit_ms = bare_commit(&launcher.database).await?;
    let server = launcher.start().await?;
    rows.push(Row::new("resident, idle", server.resident_mib()?, "MiB"));
    create(&server, &empty, 1).await?;
    create(&server, &full, CAPACITY).await?;

    say("one client")?;
    let one = load::run(server.address, &path(&empty), 1, SINGLE).await?;
    let one_ms = median(one.latencies.iter().map(|l| l.as_secs_f64() * 1_000.0).collect());
    rows.push(
        Row::new("step, one client", one_ms, "ms").limit("two bare commits", 2.0 * commit_ms),
    );

    say("64 clients, memory empty")?;
    load::run(server.address, &path(&empty), CLIENTS, steps / 10).await?;
    let quick = load::run(server.address, &path(&empty), CLIENTS, steps).await?;
    rows.push(Row::new("steps, 64 clients, memory empty", quick.per_second(), "steps/s"));

    say("64 clients, under a snapshot held open")?;
    let reader = Store::open_read_only(&Options::new(launcher.database.clone())).await?;
    let snapshot = reader.probe_snapshot().await?;
    let held = load::run(server.address, &path(&empty), CLIENTS, steps).await?;
    drop(snapshot);
    reader.close().await;
    rows.push(
        Row::new("steps, 64 clients, an old snapshot held open", held.per_second(), "steps/s")
            .limit("without it", quick.per_second()),
    );

    say("64 clients, filling the memory")?;
    load::run(server.address, &path(&full), CLIENTS, CAPACITY + CAPACITY / 10).await?;
    let before = server.resident_mib()?;
    say("64 clients, memory full")?;
    let loaded = load::run(server.address, &path(&full), CLIENTS, steps).await?;
    rows.push(
        Row::new("steps, 64 clients, memory full, context fetched", loaded.per_second(), "steps/s")
            .limit("memory empty", quick.per_second()),
    );
    let after = server.resident_mib()?;
    rows.push(Row::new("resident after that load", after, "MiB").limit("before it", before));
    if let Some(events) = grow {
        let so_far = CAPACITY + CAPACITY / 10 + steps;
        rows.extend(grown(&server, &full, events, so_far, steps).await?);
    }
    server.kill().await?;

    say("cold starts")?;
    rows.extend(cold(launcher, &full).await?);
    say("replay")?;
    rows.push(replay_speed(launcher, &full).await?);
    Ok(rows)
}

/// The same load at 100,000 events and at `events`, with the resident memory.
async fn grown(
    server: &Server,
    engine: &str,
    events: usize,
    so_far: usize,
    steps: usize,
) -> anyhow::Result<Vec<Row>> {
    let until = |events: usize, so_far: usize| (events / 2).saturating_sub(so_far);
    say("64 clients, at 100,000 events")?;
    let early = until(100_000, so_far);
    load::run(server.address, &path(engine), CLIENTS, early).await?;
    let young = load::run(server.address, &path(engine), CLIENTS, steps).await?;
    let before = server.resident_mib()?;
    say("64 clients, on to many more events")?;
    let late = until(events, so_far + early + steps);
    load::run(server.address, &path(engine), CLIENTS, late).await?;
    let old = load::run(server.address, &path(engine), CLIENTS, steps).await?;
    let after = server.resident_mib()?;
    Ok(vec![
        Row::new(format!("steps, memory full, at {events} events"), old.per_second(), "steps/s")
            .limit("at 100000 events", young.per_second()),
        Row::new(format!("resident at {events} events"), after, "MiB")
            .limit("at 100000 events", before),
    ])
}

fn path(engine: &str) -> String {
    format!("/v1/engines/{engine}/generate")
}

async fn create(server: &Server, engine: &str, capacity: usize) -> anyhow::Result<()> {
    let url = format!("http://{}/v1/engines", server.address);
    let body = serde_json::json!({"engine_id": engine, "policy": {"capacity": capacity}});
    let client = reqwest::Client::builder().no_proxy().build()?;
    client.post(url).json(&body).send().await?.error_for_status()?;
    Ok(())
}

pub(super) async fn bare_commit(url: &str) -> anyhow::Result<f64> {
    let store = Store::open(&Options::new(url.to_owned())).await?;
    let engine = EngineId::default();
    let mut times = Vec::with_capacity(SINGLE);
    let salt = u64::from(std::process::id()) << 32;
    for n in 0..SINGLE as u64 {
        let started = Instant::now();
        store.probe_commit(&engine, salt | n).await?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    store.close().await;
    Ok(median(times))
}

/// Time from the start of a process to its first response from a full engine, and its resident memory.
async fn cold(launcher: &Launcher, engine: &str) -> anyhow::Result<Vec<Row>> {
    let (mut ready, mut first, mut resident) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let server = launcher.start().await?;
        let started = Instant::now();
        load::run(server.address, &path(engine), 1, 1).await?;
        first.push(started.elapsed().as_secs_f64() * 1_000.0);
        ready.push(server.started_in.as_secs_f64() * 1_000.0);
        resident.push(server.resident_mib()?);
        server.kill().await?;
    }
    Ok(vec![
        Row::new("cold start until ready", median(ready), "ms"),
        Row::new("first answer of the full engine, by replay", median(first), "ms"),
        Row::new("resident, one full engine after its replay", median(resident), "MiB"),
    ])
}

async fn replay_speed(launcher: &Launcher, engine: &str) -> anyhow::Result<Row> {
    let store = Store::open_read_only(&Options::new(launcher.database.clone())).await?;
    let key = Arc::new(ContentKey::from_text(launcher.content_key)?);
    let engine: EngineId = engine.parse()?;
    let (mut folds, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let started = Instant::now();
        let folder = replay::replay(&store, &key, &engine, Position::MAX, &mut |_| {}).await?;
        let events = folder.position() as f64;
        folds.push(events / started.elapsed().as_secs_f64());
        let started = Instant::now();
        let mut after = 0;
        loop {
            let rows = store.probe_read(&engine, after, PAGE).await?;
            after += rows as Position;
            if rows < PAGE as usize {
                break;
            }
        }
        reads.push(events / started.elapsed().as_secs_f64());
    }
    store.close().await;
    Ok(Row::new("replay", median(folds), "events/s").limit("raw read of its rows", median(reads)))
}
