//! `mlsdm keys`

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Context, output,
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
    /// Running servers use it as soon as they read `mac_key.changed` in the system log. Events with
    /// earlier keys stay valid.
    RotateMac,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let Command::RotateMac = args.command;
    let advice = "stop the server, then rotate the key and start it again";
    let writing = Writing::open(context, advice).await?;
    let done = rotate_mac(&writing.engines).await;
    let in_time = writing.close().await;
    context.print(&done?, render)?;
    ended(in_time)
}

async fn rotate_mac(engines: &Engines) -> anyhow::Result<Value> {
    let (id, receipt) =
        engines.rotate_mac_key(&actor()).await.context("the key was not rotated")?;
    Ok(json!({
        "mac_key": id,
        "position": receipt.position,
        "chain_hash": receipt.chain_hash.to_string(),
    }))
}

fn render(value: &Value) -> String {
    let [id, position] = ["mac_key", "position"].map(|key| output::cell(value.get(key)));
    format!(
        "events are authenticated with key {id}; mac_key.changed at position {position} of _system\n"
    )
}
