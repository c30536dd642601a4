//! `mlsdm engine migrate`

use serde_json::{Value, json};

use crate::{
    cli::{
        Context, output,
        progress::Progress,
        writing::{Writing, actor, ended},
    },
    domain::ids::EngineId,
    engine::migrate::{MigrateError, MigrationReport, migrate},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The engine whose memory is copied; it is only read.
    from: EngineId,
    /// The copy; made if it is not there, with the configuration's embedder.
    to: EngineId,
}

/// Copies a memory. A run that ended early, by a signal too, is started again with the same names.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let advice = "stop the server while an engine is migrated";
    let writing = Writing::open(context, advice).await?;
    let migrated = migrated(&writing, &args).await;
    let in_time = writing.close().await;
    context.print(&report(&args, &migrated?), output::fields)?;
    ended(in_time)
}

async fn migrated(
    writing: &Writing,
    Args { from, to }: &Args,
) -> Result<MigrationReport, MigrateError> {
    let engines = &writing.engines;
    let head = engines.parts().store.head(from).await.map_err(crate::engine::EngineError::from)?;
    let mut progress = Progress::new(from, head.position);
    migrate(engines, from, to, &actor(), &mut |position| progress.at(position)).await
}

fn report(args: &Args, migrated: &MigrationReport) -> Value {
    json!({
        "from": args.from,
        "to": args.to,
        "copied": migrated.copied,
        "skipped": migrated.skipped,
        "refused": migrated.refused,
        "already": migrated.already,
        "position": migrated.position,
        "chain_hash": migrated.chain_hash.to_string(),
    })
}
