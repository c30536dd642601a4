//! The commands. One file each; `main.rs` only calls [`main`].
//!
//! Exit codes: 0 good, 1 a finding or a failure, 2 wrong usage or configuration, 3 unreachable.
//! A new command is a file with `Args` and `run(&Context, …)`, a variant of `Command`, and an arm
//! of its dispatch.

mod audit;
mod bench;
mod check;
mod client;
mod config;
mod context;
mod credential;
mod database;
mod duration;
mod engine;
mod events;
mod exit;
mod health;
mod key;
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
mod writing;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use context::Context;
use secrecy::SecretString;

use crate::config::{Config, Flag, Sources};

/// A governed cognitive memory server.
#[derive(Debug, Parser)]
#[command(name = "mlsdm", version, about, arg_required_else_help = true)]
struct Cli {
    /// Configuration file (.yaml or .toml); default: that of `MLSDM_CONFIG`, else ./config.yaml, ./config.toml.
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Set one value, over file and environment.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// The server that commands speak to; default: the local one at `api.port`.
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// The token that commands prove to a server who they are with; `MLSDM_TOKEN` does not end up in
    /// lists of processes.
    #[arg(long, global = true, value_name = "TOKEN")]
    token: Option<SecretString>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until a signal comes.
    Serve,
    /// Measure steps, appends, searches and replays beside their limits, on a scratch database.
    Bench(bench::Args),
    /// Validate the configuration and try what it names.
    Check(check::Args),
    /// Print every setting with its value and source; secrets redacted.
    Config,
    /// Ask a server whether it is well.
    Health,
    /// Print an engine's state.
    State(state::Args),
    /// List events of an engine's log.
    Events(events::Args),
    /// Create, list, migrate, shut down and resume engines.
    Engine(engine::Args),
    /// Create, list, revoke and rotate API keys.
    Key(key::Args),
    /// Look at an engine's policy, or give it the configuration's.
    Policy(policy::Args),
    /// Fold logs again, read from the database beside a running server.
    Replay(replay::Args),
    /// Prove that nobody edited the logs.
    Audit(audit::Args),
    /// Log in at the identity provider; commands that ask the server use it from then on.
    Login(login::Args),
    /// Forget the login of a server.
    Logout,
    /// Sign a token of the development mode.
    Token(token::Args),
    /// Print what this program tells of itself.
    Telemetry(telemetry::Args),
    /// Print the API's OpenAPI document.
    Openapi,
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    // reqwest and sqlx have no TLS provider of their own; an error means it is installed already
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code =
                if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
            return error.print().map_or(ExitCode::FAILURE, |()| code);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(error.into()),
    };
    exit::code(outcome)
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let flag = |(key, value): (String, String)| Flag { name: "--set".to_owned(), key, value };
    // variables that are not UTF-8 are none of ours
    let env = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let sources = Sources {
        file: cli.config,
        dir: PathBuf::from("."),
        env,
        flags: cli.set.into_iter().map(flag).collect(),
    };
    let context = Context::new(Config::load(sources), cli.json, cli.server, cli.token);
    match cli.command {
        Command::Bench(args) => bench::run(&context, args).await,
        Command::Serve => serve::run(&context).await,
        Command::Check(args) => check::run(&context, &args).await,
        Command::Config => config::run(&context),
        Command::Health => health::run(&context).await,
        Command::State(args) => state::run(&context, args).await,
        Command::Events(args) => events::run(&context, args).await,
        Command::Engine(args) => engine::run(&context, args).await,
        Command::Key(args) => key::run(&context, args).await,
        Command::Policy(args) => policy::run(&context, args).await,
        Command::Replay(args) => replay::run(&context, args).await,
        Command::Audit(args) => audit::run(&context, args).await,
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
