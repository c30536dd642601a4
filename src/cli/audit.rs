//! `mlsdm audit`

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, context::Finding, database, output, progress::Progress};
use crate::{
    domain::ids::{EngineId, Position},
    store::{
        Store, StoreError,
        audit::{self, Finding as What, Inconsistency},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Recompute every hash from the stored bytes, and report the first invalid position of each engine.
    Verify {
        /// The engine, or `_system` for the system log. Default: all logs.
        #[arg(long, value_parser = EngineId::of_log)]
        engine: Option<EngineId>,
    },
}

/// The result of the verification of one log.
#[derive(Debug, Serialize)]
struct Report {
    engine: String,
    verified: u64,
    head: Position,
    /// The chain hash after the last verified event; none for a log without an engine.
    chain_hash: Option<String>,
    first_bad: Option<FirstBad>,
}

#[derive(Debug, Serialize)]
struct FirstBad {
    position: Position,
    what: String,
}

/// Verifies logs, next to a running server. The exit code is 1 if one was modified.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let Command::Verify { engine } = args.command;
    let store = database::open(context).await?;
    let reports = verify(&store, engine.as_ref()).await?;
    store.close().await;
    let bad = |report: &Report| {
        let FirstBad { position, what } = report.first_bad.as_ref()?;
        Some(format!("engine {}: position {position}: {what}", report.engine))
    };
    let findings: Vec<String> = reports.iter().filter_map(bad).collect();
    context.print(&json!({ "engines": reports }), render)?;
    if findings.is_empty() { Ok(()) } else { Err(Finding(findings.join("; ")).into()) }
}

async fn verify(store: &Store, named: Option<&EngineId>) -> anyhow::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for row in database::engines(store, named).await? {
        reports.push(verify_log(store, &row.engine_id).await?);
    }
    if named.is_none() {
        let orphaned = store.unknown_engines().await?;
        reports.extend(orphaned.into_iter().map(|engine| Report {
            engine,
            verified: 0,
            head: 0,
            chain_hash: None,
            first_bad: Some(Inconsistency { position: 0, what: What::NoEngine }.into()),
        }));
    }
    Ok(reports)
}

async fn verify_log(store: &Store, engine: &EngineId) -> Result<Report, StoreError> {
    let mut progress = Progress::new(engine, store.head(engine).await?.position);
    let found = audit::verify(store, engine, |position| progress.at(position)).await?;
    Ok(Report {
        engine: found.engine.to_string(),
        verified: found.verified,
        head: found.head,
        chain_hash: Some(found.chain_hash.to_string()),
        first_bad: found.first_bad.map(FirstBad::from),
    })
}

impl From<Inconsistency> for FirstBad {
    fn from(bad: Inconsistency) -> Self {
        Self { position: bad.position, what: bad.what.to_string() }
    }
}

fn render(value: &Value) -> String {
    let row = |report: &Value| {
        let mut cells = ["engine", "verified", "head", "chain_hash"]
            .map(|key| output::cell(report.get(key)))
            .to_vec();
        let bad = report.get("first_bad").filter(|bad| !bad.is_null());
        cells.push(bad.map_or_else(
            || "good".to_owned(),
            |bad| {
                let [position, what] = ["position", "what"].map(|key| output::cell(bad.get(key)));
                format!("position {position}: {what}")
            },
        ));
        cells
    };
    let rows: Vec<_> = value["engines"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["ENGINE", "VERIFIED", "HEAD", "CHAIN HASH", "FINDING"], &rows)
}
