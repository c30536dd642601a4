//! `mlsdm upgrade`

use std::io::{self, Write as _};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Context,
    context::Finding,
    database, output,
    writing::{Writing, actor, ended},
};
use crate::{
    domain::ids::EngineId,
    engine::{
        EngineError, Engines,
        upgrade::{UpgradeStatus, status},
    },
    startup,
    store::{StoreError, writer::WriteError},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the running servers, the log formats, and what `finish` would refuse (exit code 1).
    Status,
    /// Create or change the tables for this version, directly in the database, as their owner. Changes
    /// nothing if that is done. Can run at any time, several times at once, and can be killed.
    Tables,
    /// Raise all logs to the newest format, directly in the database. Servers of this version go on
    /// running; older versions can no longer read the logs.
    Finish,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Status => show(context).await,
        Command::Tables => tables(context).await,
        Command::Finish => finish(context).await,
    }
}

async fn show(context: &Context) -> anyhow::Result<()> {
    let store = database::open(context).await?;
    let status = status(&store).await;
    store.close().await;
    let status = status?;
    context.print(&serde_json::to_value(&status)?, render)?;
    refused(&status)
}

async fn tables(context: &Context) -> anyhow::Result<()> {
    let store = startup::open_log(&context.loaded()?.config.database).await?;
    store.close().await;
    context.print(&json!({ "tables": "current" }), |_| {
        "the database has the tables of this version\n".to_owned()
    })
}

/// An error if the upgrade cannot be finished.
fn refused(status: &UpgradeStatus) -> anyhow::Result<()> {
    if status.missing.is_empty() {
        return Ok(());
    }
    Err(Finding(format!("the upgrade cannot be finished: {}", status.missing.join("; "))).into())
}

async fn finish(context: &Context) -> anyhow::Result<()> {
    let advice = "stop the server, run `mlsdm upgrade finish`, and start it again";
    let writing = Writing::open(context, advice).await?;
    let raised = raise_all(&writing.engines).await;
    let in_time = writing.close().await;
    context.print(&raised?, render_raised)?;
    ended(in_time)
}

async fn raise_all(engines: &Engines) -> anyhow::Result<Value> {
    let store = &engines.parts().store;
    let before = status(store).await?;
    refused(&before)?;
    let (mut raised, mut done) = (Vec::new(), Vec::new());
    // the server's own log first: its format is that of new engines
    let mut logs = vec![EngineId::system()];
    while let Some(log) = logs.pop() {
        let head = store.head(&log).await?;
        // an unwritable standard error must not stop the command
        writeln!(io::stderr().lock(), "{log}: folding {} events", head.position).ok();
        if engines.raise_format(&log, &actor()).await.map_err(advise)? {
            raised.push(log.clone());
        }
        done.push(log);
        engines.unload_all();
        if logs.is_empty() {
            // an engine may have been created meanwhile
            logs = status(store).await?.older_logs();
            logs.retain(|log| !done.contains(log));
        }
    }
    Ok(json!({ "raised": raised, "format": before.newest_format }))
}

/// Names the role that may raise the format: a server's may not change the row of an engine.
fn advise(error: EngineError) -> anyhow::Error {
    let is_denied = matches!(&error, EngineError::Write(WriteError::Store(StoreError::Denied(_))));
    let error = anyhow::Error::from(error);
    if is_denied {
        error.context("run `mlsdm upgrade finish` as the owner of the tables")
    } else {
        error
    }
}

fn render(value: &Value) -> String {
    let column = |row: &Value, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| output::cell(row.get(*name))).collect()
    };
    let rows = |list: &str, names: &[&str]| -> Vec<Vec<String>> {
        value[list].as_array().into_iter().flatten().map(|row| column(row, names)).collect()
    };
    let columns = ["replica", "host", "version", "log_format", "rules", "seen_seconds_ago", "live"];
    let headers = ["REPLICA", "HOST", "VERSION", "FORMAT", "RULES", "SEEN (S AGO)", "LIVE"];
    let replicas = output::table(&headers, &rows("replicas", &columns));
    let logs = output::table(&["LOG", "FORMAT"], &rows("logs", &["engine", "log_format"]));
    let [old, newest] =
        ["old_connections", "newest_format"].map(|name| output::cell(value.get(name)));
    let result = if value["finished"] == true {
        format!("All logs have format {newest}. The upgrade is finished.")
    } else {
        format!("The newest format is {newest}; `mlsdm upgrade finish` raises all logs to it.")
    };
    format!("{replicas}connections of version 0.1: {old}\n\n{logs}\n{result}\n")
}

fn render_raised(value: &Value) -> String {
    let logs = value["raised"].as_array().into_iter().flatten();
    let rows: Vec<_> = logs.map(|log| vec![output::cell(Some(log)), "raised".to_owned()]).collect();
    let raised = output::table(&[], &rows);
    format!("{raised}All logs have format {}.\n", output::cell(value.get("format")))
}
