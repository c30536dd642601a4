//! `mlsdm bench`: one table, each figure beside its limit measured in the same run.
//!
//! Medians and ratios, because machines are noisy. It writes engines of its own into the database it
//! is given (a new SQLite file without one): use a scratch database.

mod append;
mod auth;
mod backend;
mod embed;
mod gateway;
mod load;
mod retrieval;
mod server;
mod steps;
mod table;
mod telemetry;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use clap::ValueEnum;

use super::Context;
use crate::store::{Options, Store, keys::ContentKey};
use table::Row;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scratch database: postgres://… or sqlite://…; a new SQLite file without it.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Steps of each load; more take longer and vary less.
    #[arg(long, default_value_t = 10_000)]
    steps: usize,
    /// Also go on until the full engine's log has this many events, and measure again.
    #[arg(long, value_name = "EVENTS")]
    grow: Option<usize>,
    /// Also measure the sentence transformer in this folder (needs the feature `minilm`).
    #[arg(long, value_name = "FOLDER")]
    minilm: Option<PathBuf>,
    /// Another gateway to measure before the same model, as NAME=URL up to `/v1`; it has to ask the
    /// model at `--backend-port`.
    #[arg(long, value_name = "NAME=URL")]
    beside: Vec<gateway::Other>,
    /// A header that such a gateway needs, as `NAME: VALUE`.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<gateway::Header>,
    /// Where the instant model of that part listens; 0 is any free port.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    backend_port: u16,
    /// Also search a memory of a million items, which takes 2.5 GB.
    #[arg(long)]
    million: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Search in memory.
    Retrieval,
    /// The writer beside raw inserts.
    Append,
    /// Whole steps over HTTP, memory, cold start, replay.
    Steps,
    /// Embedders and their cache.
    Embed,
    /// Tokens verified, for the first time and again.
    Auth,
    /// Chats and streams through the server beside direct calls of the same model.
    Gateway,
    /// Steps with all telemetry beside steps with none, and scrapes.
    Telemetry,
}

/// A key for scratch databases only.
const SCRATCH_KEY: &str = "6265206e6f74206166726169642074686973206973206120736372617463683a";

/// Where the parts measure.
struct Scratch {
    store: Store,
    key: Arc<ContentKey>,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut rows: Vec<Row> = Vec::new();
    if wanted(Part::Retrieval) {
        say("search in 20,000 items")?;
        rows.extend(retrieval::run(20_000)?);
        if args.million {
            say("search in 1,000,000 items")?;
            rows.extend(retrieval::run(1_000_000)?);
        }
    }
    if wanted(Part::Embed) {
        say("embedders")?;
        rows.extend(embed::run(args.minilm.as_deref()).await?);
    }
    if wanted(Part::Auth) {
        say("tokens")?;
        rows.extend(auth::run().await?);
    }
    let folder = std::env::temp_dir().join(format!("mlsdm-bench-{}", std::process::id()));
    let url = args
        .database
        .clone()
        .unwrap_or_else(|| format!("sqlite://{}", folder.join("bench.db").display()));
    if wanted(Part::Append) {
        say("append: the writer beside raw inserts")?;
        let store = Store::open(&Options::new(url.clone())).await?;
        store.migrate().await?;
        let key = Arc::new(ContentKey::from_text(SCRATCH_KEY)?);
        let scratch = Scratch { store, key };
        rows.extend(append::run(&scratch).await?);
        scratch.store.close().await;
    }
    if wanted(Part::Steps) {
        rows.extend(steps::run(&url, SCRATCH_KEY, args.steps, args.grow).await?);
    }
    if wanted(Part::Gateway) {
        let others = gateway::Others { all: args.beside, headers: args.header };
        rows.extend(gateway::run(&url, SCRATCH_KEY, args.backend_port, &others).await?);
    }
    if wanted(Part::Telemetry) {
        rows.extend(telemetry::run(&url, SCRATCH_KEY).await?);
    }
    if args.database.is_none() && folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    context.print(&table::json(&rows), table::people)
}

/// Progress, apart from the figures.
fn say(what: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "measuring {what} …")
}
