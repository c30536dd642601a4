//! `mlsdm serve`

use std::io::{self, Write as _};

use tokio::runtime::Handle;

use super::{Context, context::Finding};
use crate::{
    http::server::{listen, llm, open_engines, serve},
    lifecycle::Tasks,
    telemetry::logs,
};

/// Serves until a signal comes.
pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let loaded = context.loaded()?;
    let config = &loaded.config;
    logs::init(&config.logging)?;
    for warning in &loaded.warnings {
        tracing::warn!(event_type = "config.warning", "{warning}");
    }
    let tasks = Tasks::new(Handle::current());
    let listener = listen(config)?;
    let address = listener.local_addr()?;
    let engines = open_engines(config, llm(config).await?, &tasks).await?;
    tasks.listen(config.api.drain())?;
    let scheme = if config.tls.pair().is_some() { "https" } else { "http" };
    tracing::info!(event_type = "server.started", address = %address, "serving");
    writeln!(
        io::stderr().lock(),
        "MLSDM serves on {scheme}://{address} (docs: {scheme}://{address}/docs)"
    )?;
    if serve(config, engines, tasks, listener).await? {
        return Ok(());
    }
    Err(Finding("the server was stopped before everything had ended".to_owned()).into())
}
