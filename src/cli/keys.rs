//! `mlsdm keys`

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Context,
    context::Finding,
    output,
    writing::{Writing, actor, ended},
};
use crate::engine::Engines;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin a new key for the MACs of events, directly in the database.
    ///
    /// Running servers use it as soon as they read `mac_key.changed`. It is recorded in every log:
    /// events before it stay valid, and none with an earlier key is accepted after it.
    RotateMac,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let Command::RotateMac = args.command;
    let advice = "stop the server, then rotate the key and start it again";
    let writing = Writing::open(context, advice).await?;
    let done = rotate_mac(&writing.engines).await;
    let in_time = writing.close().await;
    let (value, failed) = done?;
    context.print(&value, render)?;
    ended(in_time)?;
    if failed > 0 {
        let detail = "not every log could record the rotation: repair these logs and rotate again";
        return Err(Finding(detail.to_owned()).into());
    }
    Ok(())
}

async fn rotate_mac(engines: &Engines) -> anyhow::Result<(Value, usize)> {
    let rotation = engines.rotate_mac_key(&actor()).await.context("the key was not rotated")?;
    let failed = rotation
        .failed
        .iter()
        .map(|(engine, error)| json!({ "engine": engine, "error": error.to_string() }));
    let value = json!({
        "mac_key": rotation.id,
        "position": rotation.receipt.position,
        "chain_hash": rotation.receipt.chain_hash.to_string(),
        "rotated": rotation.rotated,
        "failed": failed.collect::<Vec<_>>(),
    });
    Ok((value, rotation.failed.len()))
}

fn render(value: &Value) -> String {
    let [id, position] = ["mac_key", "position"].map(|key| output::cell(value.get(key)));
    let rotated = value["rotated"].as_array().map_or(0, Vec::len);
    let failed = value["failed"].as_array().into_iter().flatten().map(|failure| {
        let [engine, error] = ["engine", "error"].map(|key| output::cell(failure.get(key)));
        format!("{engine} still accepts the keys before it: {error}\n")
    });
    let failed: String = failed.collect();
    format!(
        "events are authenticated with key {id}; mac_key.changed at position {position} of _system \
         and in the logs of {rotated} engines\n{failed}"
    )
}
