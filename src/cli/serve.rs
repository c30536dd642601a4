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
    clock,
    config::{AuthMode, Config, Loaded},
    http::server::{Listener, listen, listen_for_scrapes, serve},
    lifecycle::Tasks,
    startup,
    telemetry::{logs, traces::Traces},
};

/// Serves until a signal comes.
pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let loaded = context.loaded()?;
    let config = &loaded.config;
    let traces = Traces::start(&config.traces, &Handle::current())?;
    let log = logs::init(&config.logging, &config.monitoring.env, io::stdout(), traces.as_ref())?;
    // whatever ends the server, what it has told of itself is sent; the log last, which tells of the rest
    let served = AssertUnwindSafe(Box::pin(until_stopped(loaded))).catch_unwind().await;
    if let Some(traces) = traces {
        traces.close().await;
    }
    log.close().await;
    served.unwrap_or_else(|panic| resume_unwind(panic))
}

async fn until_stopped(loaded: &Loaded) -> anyhow::Result<()> {
    let config = &loaded.config;
    for warning in &loaded.warnings {
        tracing::warn!(event_type = "config.warning", "{warning}");
    }
    let tasks = Tasks::new(Handle::current());
    let listener = Listener { api: listen(config)?, metrics: listen_for_scrapes(config)? };
    let address = listener.api.local_addr()?;
    let scraped = listener.metrics.as_ref().map(TcpListener::local_addr).transpose()?;
    let engines = startup::start_engines(config, startup::llm(config).await?, &tasks).await?;
    let auth =
        startup::authenticator(config, &engines, &tasks, Arc::new(clock::now_micros)).await?;
    tasks.listen(config.api.drain())?;
    let scheme = if config.tls.pair().is_some() { "https" } else { "http" };
    let metrics = scraped.map(|address| address.to_string());
    tracing::info!(event_type = "server.started", address = %address, metrics, "serving");
    let mut text =
        format!("MLSDM serves on {scheme}://{address} (docs: {scheme}://{address}/docs)\n");
    if auth.mode() == AuthMode::Dev {
        text.push_str(&welcome(config, address)?);
    }
    // in one piece, since log lines are written meanwhile, often to the same place
    io::stderr().lock().write_all(text.as_bytes())?;
    let state = startup::state(config, auth, engines, tasks);
    if serve(config, state, listener).await? {
        return Ok(());
    }
    Err(Finding("the server was stopped before everything had ended".to_owned()).into())
}

/// A token to begin with and how to use it. For standard error only: a log would keep it.
fn welcome(config: &Config, address: SocketAddr) -> anyhow::Result<String> {
    let token = token::mint(config, &token::Args::default())?;
    let token = token.expose_secret();
    Ok(format!(
        "Mode dev: callers need a token. This one may do everything, for an hour; `mlsdm token` \
         makes more.\n\n  \
         export MLSDM_TOKEN={token}\n  \
         curl -s http://{address}/v1/generate -H \"Authorization: Bearer $MLSDM_TOKEN\" \\\n    \
         -H 'Content-Type: application/json' -d '{{\"prompt\": \"Hello\", \"moral_value\": 0.9}}'\n\n"
    ))
}
