//! `mlsdm engine`

mod migrate;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Context, client::engine_path, output};
use crate::{config::read_document, domain::ids::EngineId};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an engine.
    Create {
        /// The name of the engine.
        engine: EngineId,
        /// The policy, or the fields that differ from the configured policy of the server (.yaml, .toml,
        /// .json).
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// List engines.
    List,
    /// Copy the memory of an engine into another one with the configured embedder, directly in the
    /// database. An interrupted migration can be resumed by running the command again.
    Migrate(migrate::Args),
    /// Stop admitting steps. Running steps complete normally.
    Shutdown(Switch),
    /// Admit steps again.
    Resume(Switch),
}

#[derive(Debug, clap::Args)]
struct Switch {
    /// The engine. Default: the default engine of the server.
    engine: Option<EngineId>,
    /// The reason, recorded in the event log.
    #[arg(long)]
    reason: String,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Create { engine, policy } => {
            let mut body = json!({ "engine_id": engine });
            if let Some(path) = policy {
                body["policy"] = read_document(&path)?;
            }
            let created = context.client().await?.post("/v1/engines", &body).await?;
            context.print(&created, output::fields)
        }
        Command::List => {
            let engines = context.client().await?.get("/v1/engines", &[]).await?;
            context.print(&engines, render)
        }
        Command::Migrate(args) => migrate::run(context, args).await,
        Command::Shutdown(switch) => post(context, "shutdown", &switch).await,
        Command::Resume(switch) => post(context, "resume", &switch).await,
    }
}

async fn post(context: &Context, action: &str, switch: &Switch) -> anyhow::Result<()> {
    let path = engine_path(switch.engine.as_ref(), &format!("admin/{action}"));
    let body = json!({ "reason": switch.reason });
    let answer = context.client().await?.post(&path, &body).await?;
    context.print(&answer, output::fields)
}

fn render(answer: &Value) -> String {
    let engines = answer["engines"].as_array().into_iter().flatten();
    engines.map(|engine| output::fields(engine) + "\n").collect()
}
