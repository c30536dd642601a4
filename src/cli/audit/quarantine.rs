//! `mlsdm audit quarantine`

use serde_json::{Value, json};

use super::{
    Context, output,
    writing::{Writing, actor, ended},
};
use crate::{
    domain::ids::{EngineId, Position},
    store::quarantine::{Order, Quarantined, quarantine},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The engine, or `_system` for the system log.
    #[arg(long, value_parser = EngineId::of_log)]
    engine: EngineId,
    /// The first position to move, which `mlsdm audit verify` reports.
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(Position).range(1..))]
    from: Position,
    /// The reason, recorded in the log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The log verifies, but its end was lost: only append log.recovered after its last event.
    #[arg(long)]
    accept_loss: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let advice = "stop the server, then quarantine the events and start it again";
    let writing = Writing::open(context, advice).await?;
    let Args { engine, from, reason, accept_loss } = args;
    let order = Order { engine, from, accept_loss, actor: actor(), reason };
    let parts = writing.engines.parts();
    let done = quarantine(&parts.store, &parts.content_key, &order).await;
    let in_time = writing.close().await;
    context.print(&report(&order, &done?), render)?;
    ended(in_time)
}

fn report(order: &Order, done: &Quarantined) -> Value {
    json!({
        "engine": order.engine,
        "quarantine_id": done.id,
        "events": done.events,
        "damage": done.damage.as_ref().map(|damage| damage.cause.to_string()),
        "position": done.position,
        "chain_hash": done.chain_hash.to_string(),
    })
}

fn render(value: &Value) -> String {
    let [engine, events, id, position, hash] =
        ["engine", "events", "quarantine_id", "position", "chain_hash"]
            .map(|key| output::cell(value.get(key)));
    let moved = if value["quarantine_id"].is_null() {
        "events moved: 0".to_owned()
    } else {
        format!("events moved: {events}, quarantine {id}")
    };
    format!("engine {engine}: {moved}; log.recovered at position {position}, chain hash {hash}\n")
}
