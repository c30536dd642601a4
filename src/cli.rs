//! The commands of the `mlsdm` binary, one file each.
//!
//! Exit codes: 0 success, 1 a finding or a failure, 2 wrong usage or an invalid configuration, 3
//! unreachable. A new command is a file with `Args` and `run(&Context, …)`, a variant of `Command`, and an
//! arm of its dispatch.

mod audit;
mod backup;
mod check;
mod checkout;
mod client;
mod config;
mod context;
mod credential;
mod database;
#[cfg(feature = "tools")]
pub mod dev;
mod duration;
mod engine;
mod events;
mod exit;
mod health;
mod key;
mod keys;
mod login;
mod openapi;
mod output;
mod policy;
mod progress;
mod replay;
mod serve;
mod state;
mod telemetry;
#[cfg(test)]
mod tests;
mod token;
mod upgrade;
mod writing;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use context::Context;
use secrecy::SecretString;

use crate::{
    config::{Config, Flag, Sources},
    trust,
};

/// A governed cognitive memory server.
#[derive(Debug, Parser)]
#[command(
    name = "mlsdm",
    version,
    about,
    arg_required_else_help = true,
    after_help = "Benchmarks and generators of documents are in `mlsdm-dev` \
                  (cargo build --release --features tools)."
)]
struct Cli {
    /// Configuration file (.yaml, .toml or .json). Default: `MLSDM_CONFIG`, else ./config.yaml or
    /// ./config.toml.
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Set one value, overriding file and environment.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// URL of the server to call. Default: the local one at `api.port`.
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// Access token for the server. Prefer `MLSDM_TOKEN`, which process listings do not show.
    #[arg(long, global = true, value_name = "TOKEN")]
    token: Option<SecretString>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve,
    /// Validate the configuration and test the services that it names.
    Check(check::Args),
    /// Print every setting with its value and source, with secrets redacted.
    Config,
    /// Check server health.
    Health,
    /// Print the state of an engine.
    State(state::Args),
    /// List events of an engine.
    Events(events::Args),
    /// Create, list, migrate, shut down and resume engines.
    Engine(engine::Args),
    /// Create, list, revoke and rotate API keys.
    Key(key::Args),
    /// Rotate the keys of the deployment.
    Keys(keys::Args),
    /// Show the policy of an engine, or apply the configured policy to it.
    Policy(policy::Args),
    /// Replay event logs from the database, next to a running server.
    Replay(replay::Args),
    /// Verify that event logs are unmodified, and remove forged events.
    Audit(audit::Args),
    /// Copy a SQLite event log while a server uses it.
    Backup(backup::Args),
    /// Raise event logs to the format of this version after all servers have it.
    Upgrade(upgrade::Args),
    /// Log in at the identity provider. Commands that call the server then use this login.
    Login(login::Args),
    /// Remove the login for a server.
    Logout,
    /// Sign a token for development mode.
    Token(token::Args),
    /// Generate and diagnose telemetry.
    Telemetry(telemetry::Args),
    /// Print the OpenAPI document of the API.
    Openapi,
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    start("mlsdm", run)
}

/// The command line parser.
#[cfg(any(test, feature = "tools"))]
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the command line and runs the command on a new runtime.
fn start<C: Parser>(program: &str, run: impl AsyncFnOnce(C) -> anyhow::Result<()>) -> ExitCode {
    // reqwest and sqlx need a TLS provider; an error means that it is installed already
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let cli = match C::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code =
                if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
            return error.print().map_or(ExitCode::FAILURE, |()| code);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(error.into()),
    };
    exit::code(program, result)
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let flag = |(key, value): (String, String)| Flag { name: "--set".to_owned(), key, value };
    // all our variables are UTF-8
    let env = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let sources = Sources {
        file: cli.config,
        dir: PathBuf::from("."),
        env,
        flags: cli.set.into_iter().map(flag).collect(),
    };
    let context = Context::new(Config::load(sources), cli.json, cli.server, cli.token);
    if let Ok(loaded) = context.loaded() {
        trust::extend(loaded.config.tls.extra_ca())?;
    }
    match cli.command {
        Command::Serve => serve::run(&context).await,
        Command::Check(args) => check::run(&context, &args).await,
        Command::Config => config::run(&context),
        Command::Health => health::run(&context).await,
        Command::State(args) => state::run(&context, args).await,
        Command::Events(args) => events::run(&context, args).await,
        Command::Engine(args) => engine::run(&context, args).await,
        Command::Key(args) => key::run(&context, args).await,
        Command::Keys(args) => keys::run(&context, args).await,
        Command::Policy(args) => policy::run(&context, args).await,
        Command::Replay(args) => replay::run(&context, args).await,
        Command::Audit(args) => audit::run(&context, args).await,
        Command::Backup(args) => backup::run(&context, &args).await,
        Command::Upgrade(args) => upgrade::run(&context, args).await,
        Command::Login(args) => login::run(&context, &args).await,
        Command::Logout => login::forget(&context).await,
        Command::Token(args) => token::run(&context, &args),
        Command::Telemetry(args) => telemetry::run(&context, args).await,
        Command::Openapi => openapi::run(),
    }
}

fn parse_set(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as api.port=9000")?;
    Ok((key.to_owned(), value.to_owned()))
}
