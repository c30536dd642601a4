//! `mlsdm replay`

use std::{fmt::Write as _, sync::Arc, time::Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, context::Finding, database, output, progress::Progress};
use crate::{
    domain::{
        digest,
        ids::{EngineId, Position},
    },
    engine::{
        EngineError,
        verify::{Divergence, verify},
    },
    store::{
        EngineRow, Store,
        keys::ContentKey,
        replay,
        state_fold::{ReplayError, StateFold, check_format},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The engine, or `_system` for the system log. Default: all logs.
    #[arg(long, value_parser = EngineId::of_log)]
    engine: Option<EngineId>,
    /// The last position to fold. Default: the end of the log.
    #[arg(long, value_name = "POSITION", requires = "engine",
          value_parser = clap::value_parser!(Position).range(1..))]
    until: Option<Position>,
    /// Decide every recorded command again and compare the events.
    #[arg(long)]
    verify: bool,
}

/// The result for one log.
#[derive(Debug, Serialize)]
struct Report {
    engine: EngineId,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    verification: Option<Verification>,
    /// Why the log could not be folded to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The state after the last folded event.
#[derive(Debug, Serialize)]
struct Summary {
    position: Position,
    state_digest: String,
    /// Null if an erasure made the trace levels unknown.
    trace_digest: Option<String>,
    chain_hash: String,
    events_per_second: u64,
}

/// The result of deciding the commands again.
#[derive(Debug, Serialize)]
struct Verification {
    verified: u64,
    unverifiable: u64,
    divergent: u64,
    first_divergence: Option<Divergence>,
}

/// The database and its content key.
struct Log {
    store: Store,
    key: Arc<ContentKey>,
}

/// Replays logs. The exit code is 1 if one is damaged or diverges.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let store = database::open(context).await?;
    let source = Log { key: database::key(context, &store)?, store };
    let (mut reports, mut findings) = (Vec::new(), Vec::new());
    for row in database::engines(&source.store, args.engine.as_ref()).await? {
        let report = report(&source, &row, &args).await?;
        findings.extend(finding(&report));
        findings.extend(report.error.clone());
        reports.push(serde_json::to_value(report)?);
    }
    source.store.close().await;
    match (args.engine, reports.pop()) {
        (Some(_), Some(report)) => context.print(&report, output::fields)?,
        (_, last) => {
            reports.extend(last);
            context.print(&json!({ "engines": reports }), render)?;
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(Finding(findings.join("; ")).into()) }
}

async fn report(source: &Log, row: &EngineRow, args: &Args) -> Result<Report, ReplayError> {
    let (store, key, engine) = (&source.store, &source.key, &row.engine_id);
    let mut report =
        Report { engine: engine.clone(), summary: None, verification: None, error: None };
    let written = match written_format(key, row) {
        Ok(written) => written,
        Err(reason) => {
            report.error = Some(reason);
            return Ok(report);
        }
    };
    let until = args.until.unwrap_or(Position::MAX);
    let mut progress = Progress::new(engine, store.head(engine).await?.position.min(until));
    let mut progress = |position| progress.at(position);
    let started = Instant::now();
    let replayed = if args.verify {
        let (folder, found) = verify(store, key, engine, until, &mut progress).await?;
        report.verification = Some(Verification {
            verified: found.verified,
            unverifiable: found.unverifiable,
            divergent: found.divergent,
            first_divergence: found.first_divergence,
        });
        found.damage.map_or(Ok(folder), |damage| Err(ReplayError::Damage(damage)))
    } else {
        replay::replay(store, key, engine, until, &mut progress).await
    };
    let replayed = replayed.and_then(|folder| {
        if args.until.is_none() {
            folder.check_log_format(written)?;
        }
        Ok(folder)
    });
    match replayed {
        Ok(folder) => match summary(engine, folder, started, args.until) {
            Ok(summary) => report.summary = Some(summary),
            Err(error) => report.error = Some(error.to_string()),
        },
        Err(ReplayError::Damage(damage)) => report.error = Some(damage.to_string()),
        Err(error @ ReplayError::Store(_)) => return Err(error),
    }
    Ok(report)
}

/// The format for which the engine's row was written, if this binary reads it; else the reason.
fn written_format(key: &ContentKey, row: &EngineRow) -> Result<u32, String> {
    let (_, written) = key.unwrap_index_key(row).map_err(|error| error.to_string())?;
    check_format(&row.engine_id, written).map_err(|damage| damage.to_string())?;
    Ok(written)
}

fn summary(
    engine: &EngineId,
    folder: StateFold,
    started: Instant,
    until: Option<Position>,
) -> Result<Summary, EngineError> {
    let seconds = started.elapsed().as_secs_f64();
    let head = folder.position();
    let state = folder.state.ok_or_else(|| EngineError::Empty(engine.clone()))?;
    if let Some(position) = until.filter(|until| *until > head) {
        return Err(EngineError::Beyond { position, head });
    }
    Ok(Summary {
        position: head,
        state_digest: digest::state(&state).to_string(),
        trace_digest: digest::traces(state.traces.as_ref()).map(|digest| digest.to_string()),
        chain_hash: folder.chain_hash.to_string(),
        events_per_second: (head as f64 / seconds.max(f64::MIN_POSITIVE)) as u64,
    })
}

/// Describes the first divergence.
fn finding(report: &Report) -> Option<String> {
    let verification = report.verification.as_ref()?;
    let first = verification.first_divergence.as_ref()?;
    Some(format!(
        "engine {}: {} events diverge, the first at position {}: {} is recorded as {}, recomputed as \
         {}",
        report.engine,
        verification.divergent,
        first.position,
        first.field,
        first.recorded,
        first.recomputed
    ))
}

/// One block per engine.
fn render(value: &Value) -> String {
    let mut text = String::new();
    for (index, report) in value["engines"].as_array().into_iter().flatten().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        // writing to a string cannot fail
        write!(text, "{gap}{}", output::fields(report)).ok();
    }
    text
}
