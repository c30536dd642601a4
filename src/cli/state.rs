//! `mlsdm state`

use super::{Context, client::engine_path, output};
use crate::domain::ids::{EngineId, Position};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The engine. Default: the default engine of the server.
    #[arg(long)]
    engine: Option<EngineId>,
    /// Print the state at this position of the log.
    #[arg(long, conflicts_with = "at_time")]
    at_position: Option<Position>,
    /// Print the state at this time (RFC 3339).
    #[arg(long)]
    at_time: Option<String>,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let at_position = args.at_position.map(|position| ("at_position", position.to_string()));
    let at_time = args.at_time.map(|time| ("at_time", time));
    let query: Vec<_> = at_position.into_iter().chain(at_time).collect();
    let path = engine_path(args.engine.as_ref(), "state");
    let state = context.client().await?.get(&path, &query).await?;
    context.print(&state, output::fields)
}
