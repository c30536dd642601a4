//! `mlsdm audit`

mod quarantine;
mod verify;

use clap::Subcommand;

use super::{Context, context, database, output, progress, writing};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Recompute every hash from the stored bytes, and report the first invalid position of each engine.
    ///
    /// With the content key it also verifies that servers of this deployment wrote the events.
    Verify(verify::Args),
    /// Move events that are forged, edited or damaged out of a log, and let the log go on.
    ///
    /// Moves all events from the damage on, with their contents, into the table `quarantined_events`, and
    /// appends `log.recovered`. Needs the database role that owns the tables, and the content key.
    /// Servers on PostgreSQL can go on running.
    Quarantine(quarantine::Args),
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Verify(args) => verify::run(context, args).await,
        Command::Quarantine(args) => quarantine::run(context, args).await,
    }
}
