//! The commands of `mlsdm-dev`: benchmarks, and generators of documents and dashboards.
//!
//! A separate binary (feature `tools`), so that the shipped one contains only what operators use. The
//! generator of Prometheus rules is in `mlsdm telemetry generate`, because operators change objectives.

mod bench;
mod commands;
mod configuration;
mod generate;
mod markdown;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tools of MLSDM.
#[derive(Debug, Parser)]
#[command(
    name = "mlsdm-dev",
    version,
    about,
    arg_required_else_help = true,
    after_help = "The server and the commands of operators are in `mlsdm`."
)]
struct Cli {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure steps, appends, retrieval and replay, each next to its physical limit.
    Bench(bench::Args),
    /// Generate rules, dashboards and documents from their sources.
    ///
    /// Generates: Prometheus rules, their tests, the queries of a canary, deploy/SLO.md and the alerts of
    /// deploy/RUNBOOK.md (from alerts/*.yaml); dashboards/*.json (from dashboards/*.yaml); deploy/CONFIGURATION.md
    /// (from src/config/default.toml); deploy/CLI.md (from the command line parsers);
    /// deploy/openapi.json and alerts/metrics.json (from the program).
    Generate(generate::Args),
}

/// The command line parser.
pub(super) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    super::start("mlsdm-dev", async |Cli { json, command }: Cli| match command {
        Command::Bench(args) => bench::run(json, args).await,
        Command::Generate(args) => generate::run(&args, self::command()),
    })
}
