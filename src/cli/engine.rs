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
        /// Its name.
        engine: EngineId,
        /// Its policy, or the part that differs from the server's configuration (.yaml, .toml, .json).
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// List engines.
    List,
    /// Copy what an engine remembers into another, with the configuration's embedder, directly in the
    /// database. Started again it goes on where it ended.
    Migrate(migrate::Args),
    /// Stop admitting steps; running ones end normally.
    Shutdown(Switch),
    /// Admit steps again.
    Resume(Switch),
}

#[derive(Debug, clap::Args)]
struct Switch {
    /// The engine; default: the server's default.
    engine: Option<EngineId>,
    /// Why; recorded in the log.
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
            context.print(&engines, people)
        }
        Command::Migrate(args) => migrate::run(context, args).await,
        Command::Shutdown(switch) => post(context, "shutdown", &switch).await,
        Command::Resume(switch) => post(context, "resume", &switch).await,
    }
}

async fn post(context: &Context, act: &str, switch: &Switch) -> anyhow::Result<()> {
    let path = engine_path(switch.engine.as_ref(), &format!("admin/{act}"));
    let body = json!({ "reason": switch.reason });
    let answer = context.client().await?.post(&path, &body).await?;
    context.print(&answer, output::fields)
}

fn people(answer: &Value) -> String {
    let engines = answer["engines"].as_array().into_iter().flatten();
    engines.map(|engine| output::fields(engine) + "\n").collect()
}
