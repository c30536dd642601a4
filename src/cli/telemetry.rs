//! `mlsdm telemetry`: what this program tells of itself.

use std::io::{self, Write as _};

use clap::Subcommand;

use crate::telemetry::metrics::contract;

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the metrics, as `alerts/metrics.json` holds them: name, kind, labels, unit, meaning.
    Metrics,
}

/// Prints it; `--json` makes no difference.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let Action::Metrics = args.action;
    Ok(io::stdout().lock().write_all(contract::json()?.as_bytes())?)
}
