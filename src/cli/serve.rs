//! `mlsdm serve`

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
};

use futures_util::FutureExt as _;
use secrecy::ExposeSecret as _;

use tokio::runtime::Handle;

use super::{Context, context::Finding, token};
use crate::{
    auth::Authenticator,
    clock,
    config::{AuthMode, Config, Loaded},
    engine::Engines,
    http::server::{Listener, Starting, listen, listen_for_scrapes, serve},
    lifecycle::Tasks,
    startup::{self, StartError},
    telemetry::{logs, traces::Traces},
};

/// Runs the server until a signal stops it.
pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let loaded = context.loaded()?;
    let config = &loaded.config;
    let traces = Traces::start(&config.traces, &Handle::current())?;
    let log = logs::init(&config.logging, &config.monitoring.env, io::stdout(), traces.as_ref())?;
    // flush telemetry even after a panic; the log last, because it reports the rest
    let served = AssertUnwindSafe(Box::pin(serve_until_stopped(loaded))).catch_unwind().await;
    if let Some(traces) = traces {
        traces.close().await;
    }
    log.close().await;
    served.unwrap_or_else(|panic| resume_unwind(panic))
}

async fn serve_until_stopped(loaded: &Loaded) -> anyhow::Result<()> {
    let config = &loaded.config;
    let tasks = Tasks::new(Handle::current());
    tasks.survive_hangups()?;
    for warning in &loaded.warnings {
        tracing::warn!(event_type = "config.warning", "{warning}");
    }
    let listener = Listener { api: listen(config)?, metrics: listen_for_scrapes(config)? };
    let address = listener.api.local_addr()?;
    let scraped = listener.metrics.as_ref().map(TcpListener::local_addr).transpose()?;
    // a process with the id 1 ignores signals that it has not asked for
    tasks.listen(config.api.drain())?;
    let starting = Starting::answer(config, &listener, &tasks)?;
    let started = tokio::select! {
        started = start(config, &tasks) => Some(started),
        () = tasks.stop().leaving() => None,
    };
    starting.stop().await;
    let Some(started) = started else { return stop_early(config, &tasks).await };
    let (engines, auth) = started?;
    startup::record_start(&loaded.settings, &engines, &tasks);
    let scheme = if config.tls.pair().is_some() { "https" } else { "http" };
    let metrics = scraped.map(|address| address.to_string());
    tracing::info!(event_type = "server.started", address = %address, metrics, "server started");
    let mut text =
        format!("MLSDM listens on {scheme}://{address} (docs: {scheme}://{address}/docs)\n");
    if config.auth.mode(config.api.host) == AuthMode::Dev {
        text.push_str(&welcome(config, address)?);
    }
    // one write, because log lines are written concurrently, often to the same terminal
    io::stderr().lock().write_all(text.as_bytes())?;
    let state = startup::state(config, auth, engines, tasks);
    stopped(serve(config, state, listener).await?)
}

/// Ends a server that was told to stop while it started. No request needs the time to drain.
async fn stop_early(config: &Config, tasks: &Tasks) -> anyhow::Result<()> {
    tasks.stop().begin();
    stopped(tasks.wait(config.api.timeout()).await)
}

fn stopped(in_time: bool) -> anyhow::Result<()> {
    if in_time {
        return Ok(());
    }
    Err(Finding("the server stopped before all work had completed".to_owned()).into())
}

async fn start(
    config: &Config,
    tasks: &Tasks,
) -> Result<(Engines, Arc<Authenticator>), StartError> {
    let engines = startup::start_engines(config, startup::llm(config).await?, tasks).await?;
    let auth = startup::authenticator(config, &engines, tasks, Arc::new(clock::now_micros)).await?;
    Ok((engines, auth))
}

/// A first token and its use. For standard error only: a log would retain the token.
fn welcome(config: &Config, address: SocketAddr) -> anyhow::Result<String> {
    let token = token::mint(config, &token::Args::default())?;
    let token = token.expose_secret();
    Ok(format!(
        "Mode dev: callers need a token. This one has all permissions for an hour; `mlsdm token` \
         signs others.\n\n  \
         export MLSDM_TOKEN={token}\n  \
         curl -s http://{address}/v1/generate -H \"Authorization: Bearer $MLSDM_TOKEN\" \\\n    \
         -H 'Content-Type: application/json' -d '{{\"prompt\": \"Hello\", \"moral_value\": 0.9}}'\n\n"
    ))
}
