//! `mlsdm policy`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Context,
    client::engine_path,
    output,
    writing::{Writing, actor, ended},
};
use crate::{
    config::Config,
    domain::{ids::EngineId, policy::Policy},
    engine::{Engines, Receipt},
};

/// The reason that is recorded in the event log.
const REASON: &str = "mlsdm policy apply";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the policy of an engine.
    Show {
        /// The engine. Default: the default engine of the server.
        #[arg(long)]
        engine: Option<EngineId>,
    },
    /// Apply the configured policy to an engine, directly in the database.
    Apply {
        /// The engine. Default: the configured `engine.default`.
        #[arg(long)]
        engine: Option<EngineId>,
    },
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Show { engine } => {
            let path = engine_path(engine.as_ref(), "state");
            let state = context.client().await?.get(&path, &[]).await?;
            context.print(&state["policy"], output::fields)
        }
        Command::Apply { engine } => apply(context, engine.as_ref()).await,
    }
}

/// Applies only the fields that changed since the configuration was last applied, so that changes by an
/// operator persist. Without changes it succeeds.
async fn apply(context: &Context, named: Option<&EngineId>) -> anyhow::Result<()> {
    let config = &context.loaded()?.config;
    let id = named.unwrap_or_else(|| config.engine.default_id());
    let advice = "stop the server, or restart it with the new configuration, which it then applies";
    let writing = Writing::open(context, advice).await?;
    let report = apply_to(&writing.engines, config, id).await;
    let in_time = writing.close().await;
    context.print(&report?, render)?;
    ended(in_time)
}

async fn apply_to(engines: &Engines, config: &Config, id: &EngineId) -> anyhow::Result<Value> {
    let policy = &config.mlsdm.policy;
    let is_new = engines.parts().store.engine(id).await?.is_none();
    if is_new && id == config.engine.default_id() {
        let hash = policy.hash().to_string();
        let receipt = engines.create(id, policy.clone(), Some(hash), &actor()).await?;
        return Ok(report(id, "created", &json!({}), receipt));
    }
    let engine = engines.get(id).await?;
    let before = engine.view().state.clone();
    let receipt = engine.apply_config(policy, &actor(), REASON).await?;
    let after = engine.view().state.clone();
    let outcome =
        if after.policy_version > before.policy_version { "applied" } else { "unchanged" };
    Ok(report(id, outcome, &diff(&before.policy, &after.policy)?, receipt))
}

fn report(id: &EngineId, outcome: &str, diff: &Value, receipt: Receipt) -> Value {
    json!({
        "engine": id,
        "outcome": outcome,
        "diff": diff,
        "position": receipt.position,
        "chain_hash": receipt.chain_hash.to_string(),
    })
}

/// The changed fields with their values before and after.
fn diff(before: &Policy, after: &Policy) -> anyhow::Result<Value> {
    let (old, new) = (before.tree()?, after.tree()?);
    let values = |name: &String| {
        let pointer = format!("/{}", name.replace('.', "/"));
        (name.clone(), json!({ "before": old.pointer(&pointer), "after": new.pointer(&pointer) }))
    };
    Ok(before.diff(after).iter().map(values).collect())
}

fn render(value: &Value) -> String {
    let row = |(name, values): (&String, &Value)| {
        let [before, after] = ["before", "after"].map(|key| output::cell(values.get(key)));
        vec![name.clone(), before, after]
    };
    let rows: Vec<_> = value["diff"].as_object().into_iter().flatten().map(row).collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text = output::table(&["FIELD", "BEFORE", "AFTER"], &rows);
    }
    let [engine, outcome, position, hash] =
        ["engine", "outcome", "position", "chain_hash"].map(|key| output::cell(value.get(key)));
    text + &format!("engine {engine}: {outcome}; position {position}, chain hash {hash}\n")
}
