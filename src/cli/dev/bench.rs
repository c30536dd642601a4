//! `mlsdm-dev bench`: one table, each figure next to its physical limit, measured in the same run.
//!
//! Reports medians and ratios, because machines are noisy. The benchmark creates engines in the given
//! database: use a scratch database. Without one it uses a new SQLite file.

mod append;
mod auth;
mod backend;
mod decode;
mod delta;
mod embed;
mod gateway;
mod load;
mod mac;
mod progress;
mod retrieval;
mod scratch;
mod server;
mod steps;
mod table;
mod telemetry;

use std::{path::PathBuf, sync::Arc};

use clap::ValueEnum;

use crate::{
    cli::output,
    store::{Options, Store, keys::ContentKey},
};
use progress::say;
use scratch::Scratch;
use server::Launcher;
use table::Row;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The scratch database: postgres://… or sqlite://…. Default: a new SQLite file.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The server to measure. Default: `mlsdm` in the directory of this program.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Parts to measure. Default: all.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Number of steps of each load. More steps take longer and vary less.
    #[arg(long, default_value_t = 10_000)]
    steps: usize,
    /// Grow the log of the full engine to this number of events, and measure again.
    #[arg(long, value_name = "EVENTS")]
    grow: Option<usize>,
    /// Also measure the sentence transformer in this directory (requires the feature `minilm`).
    #[arg(long, value_name = "DIRECTORY")]
    minilm: Option<PathBuf>,
    /// Another gateway to measure with the same model, as NAME=URL with the URL up to `/v1`. It must call
    /// the model at `--backend-port`.
    #[arg(long, value_name = "NAME=URL")]
    beside: Vec<gateway::Other>,
    /// A header for such a gateway, as `NAME: VALUE`.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<gateway::Header>,
    /// Port of the instant model; 0 picks a free port.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    backend_port: u16,
    /// Also search a memory of a million items, which needs 2.5 GB.
    #[arg(long)]
    million: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Retrieval from the lattice memory.
    Retrieval,
    /// The writer, compared with raw inserts, and the MAC of an event.
    Append,
    /// Steps over HTTP, resident memory, cold start and replay.
    Steps,
    /// Embedders and their cache.
    Embed,
    /// Verification of tokens and API keys.
    Auth,
    /// Decoding of chats of a megabyte, and of streamed deltas.
    Decode,
    /// Chats and streams through the server, compared with direct calls to the same model.
    Gateway,
    /// Steps with each kind of telemetry, compared with none; and scrapes.
    Telemetry,
}

/// The content key of scratch databases.
const SCRATCH_KEY: &str = "6265206e6f74206166726169642074686973206973206120736372617463683a";

pub(super) async fn run(json: bool, args: Args) -> anyhow::Result<()> {
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut rows: Vec<Row> = Vec::new();
    if wanted(Part::Retrieval) {
        say("retrieval from 20,000 items")?;
        rows.extend(retrieval::run(20_000)?);
        if args.million {
            say("retrieval from 1,000,000 items")?;
            rows.extend(retrieval::run(1_000_000)?);
        }
    }
    if wanted(Part::Embed) {
        say("embedders")?;
        rows.extend(embed::run(args.minilm.as_deref()).await?);
    }
    if wanted(Part::Auth) {
        say("authentication")?;
        rows.extend(auth::run().await?);
    }
    if wanted(Part::Decode) {
        say("decoding of chats")?;
        rows.extend(decode::run()?);
        say("streamed deltas")?;
        rows.extend(delta::run().await?);
    }
    let folder = std::env::temp_dir().join(format!("mlsdm-bench-{}", std::process::id()));
    let url = args
        .database
        .clone()
        .unwrap_or_else(|| format!("sqlite://{}", folder.join("bench.db").display()));
    let launcher = Launcher::new(args.binary, url.clone(), SCRATCH_KEY)?;
    if wanted(Part::Append) {
        rows.push(mac::run(SCRATCH_KEY)?);
        say("append: the writer and raw inserts")?;
        let store = Store::open(&Options::new(url)).await?;
        store.migrate().await?;
        let key = Arc::new(ContentKey::from_text(SCRATCH_KEY)?);
        let scratch = Scratch { store, key };
        rows.extend(append::run(&scratch).await?);
        scratch.store.close().await;
    }
    if wanted(Part::Steps) {
        rows.extend(steps::run(&launcher, args.steps, args.grow).await?);
    }
    if wanted(Part::Gateway) {
        let others = gateway::Others { all: args.beside, headers: args.header };
        rows.extend(gateway::run(&launcher, args.backend_port, &others).await?);
    }
    if wanted(Part::Telemetry) {
        rows.extend(telemetry::run(&launcher).await?);
    }
    if args.database.is_none() && folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    output::print(json, &table::json(&rows), table::render)
}
