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
    /// The engine whose memory is copied. It is not modified.
    from: EngineId,
    /// The copy. It is created with the configured embedder if it does not exist.
    to: EngineId,
}

/// Copies a memory. An interrupted run can be resumed with the same arguments.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let advice = "stop the server during the migration of an engine";
    let writing = Writing::open(context, advice).await?;
    let migrated = copy(&writing, &args).await;
    let in_time = writing.close().await;
    context.print(&report(&args, &migrated?), output::fields)?;
    ended(in_time)
}

async fn copy(
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
