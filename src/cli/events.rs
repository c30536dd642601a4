//! `mlsdm events`

use serde_json::Value;

use super::{Context, client::engine_path, output};
use crate::domain::ids::{EngineId, Position, StepNumber};

/// Maximum page size of the server.
const LIMIT_MAX: i64 = 500;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The engine. Default: the default engine of the server.
    #[arg(long)]
    engine: Option<EngineId>,
    /// Only events after this position.
    #[arg(long)]
    after: Option<Position>,
    /// Maximum number of events.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=LIMIT_MAX))]
    limit: u16,
    /// Only events of this type, such as `step.admitted`.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only events of this step.
    #[arg(long)]
    step: Option<StepNumber>,
    /// Only events of this data subject.
    #[arg(long)]
    subject: Option<String>,
    /// Only events of the request with this `id` (events of version 0.1: with this `X-Request-ID`).
    #[arg(long)]
    request_id: Option<String>,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let filters = [
        ("after", args.after.map(|position| position.to_string())),
        ("limit", Some(args.limit.to_string())),
        ("type", args.kind),
        ("step", args.step.map(|step| step.to_string())),
        ("subject", args.subject),
        ("request_id", args.request_id),
    ];
    let query: Vec<_> =
        filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let path = engine_path(args.engine.as_ref(), "events");
    let page = context.client().await?.get(&path, &query).await?;
    context.print(&page, render)
}

fn render(page: &Value) -> String {
    let columns = ["position", "recorded_at", "type", "step", "request_id"];
    let row = |event: &Value| columns.map(|key| output::cell(event.get(key))).to_vec();
    let rows: Vec<_> = page["events"].as_array().into_iter().flatten().map(row).collect();
    let mut text = output::table(&["POSITION", "RECORDED AT", "TYPE", "STEP", "REQUEST ID"], &rows);
    if let Some(next) = page.get("next").filter(|next| !next.is_null()) {
        text.push_str("more: --after ");
        text.push_str(&output::cell(Some(next)));
        text.push('\n');
    }
    text
}
