//! `mlsdm audit verify`

use std::sync::Arc;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Context,
    context::Finding,
    database::{self, engines},
    output,
    progress::Progress,
};
use crate::{
    domain::ids::{EngineId, Position},
    startup::{StartError, content_key},
    store::{
        Store, StoreError,
        audit::{self, Finding as What, Inconsistency},
        keys::ContentKey,
        seal::SealError,
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The engine, or `_system` for the system log. Default: all logs.
    #[arg(long, value_parser = EngineId::of_log)]
    engine: Option<EngineId>,
    /// A check without which the verification fails.
    #[arg(long, value_enum, value_name = "CHECK")]
    require: Option<Require>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Require {
    /// The MACs of the events, which need the content key.
    Authenticity,
}

/// The extent to which the MACs of the events were verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Authenticity {
    Checked,
    NotChecked,
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
    let store = database::open(context).await?;
    let key = key(context, &store)?;
    let reports = verify(&store, args.engine.as_ref(), key.as_deref()).await?;
    store.close().await;
    let bad = |report: &Report| {
        let FirstBad { position, what } = report.first_bad.as_ref()?;
        Some(format!("engine {}: position {position}: {what}", report.engine))
    };
    let mut findings: Vec<String> = reports.iter().filter_map(bad).collect();
    let authenticity = if key.is_some() { Authenticity::Checked } else { Authenticity::NotChecked };
    if authenticity == Authenticity::NotChecked && args.require == Some(Require::Authenticity) {
        let reason = "the authenticity of events was not checked: set MLSDM_CONTENT_KEY or \
                      MLSDM_CONTENT_KEY_FILE";
        findings.push(reason.to_owned());
    }
    context.print(&json!({ "engines": reports, "authenticity": authenticity }), render)?;
    if findings.is_empty() { Ok(()) } else { Err(Finding(findings.join("; ")).into()) }
}

/// The content key, if one is configured or lies beside the SQLite file.
fn key(context: &Context, store: &Store) -> anyhow::Result<Option<Arc<ContentKey>>> {
    let database = &context.loaded()?.config.database;
    match content_key(database, store.path(), false) {
        Ok(key) => Ok(Some(Arc::new(key))),
        Err(StartError::NoContentKey | StartError::Key(SealError::KeyFile { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn verify(
    store: &Store,
    named: Option<&EngineId>,
    key: Option<&ContentKey>,
) -> anyhow::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for row in engines(store, named).await? {
        reports.push(verify_log(store, &row.engine_id, key).await?);
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

async fn verify_log(
    store: &Store,
    engine: &EngineId,
    key: Option<&ContentKey>,
) -> Result<Report, StoreError> {
    let mut progress = Progress::new(engine, store.head(engine).await?.position);
    let found = audit::verify(store, engine, key, |position| progress.at(position)).await?;
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
    let table = output::table(&["ENGINE", "VERIFIED", "HEAD", "CHAIN HASH", "FINDING"], &rows);
    let is_checked = value["authenticity"] == "checked";
    let authenticity = if is_checked { "checked" } else { "not checked (no key)" };
    format!("{table}authenticity: {authenticity}\n")
}
