//! `mlsdm-dev generate`

use std::{ffi::OsStr, fs, path::PathBuf};

use anyhow::Context as _;

use super::{commands, configuration};
use crate::{
    cli::{checkout::Checkout, telemetry::rules},
    http::{metrics::contract, openapi},
    telemetry::{
        dashboards::{Limits, dashboard},
        rules::{Files, Slo},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A checkout of this repository.
    #[arg(default_value = ".")]
    checkout: PathBuf,
    /// Write nothing; fail if a file is out of date.
    #[arg(long)]
    check: bool,
}

/// `tools` is the command line parser of this program.
pub(super) fn run(args: &Args, tools: clap::Command) -> anyhow::Result<()> {
    let checkout = Checkout::new(&args.checkout);
    let mut files = rules(&checkout)?;
    files.extend(dashboards(&checkout)?);
    files.push(("alerts/metrics.json".to_owned(), contract::json()?));
    files.push(("deploy/openapi.json".to_owned(), openapi::text(&openapi::document())?));
    files.push(("deploy/CLI.md".to_owned(), commands::document([crate::cli::command(), tools])));
    files.push(("deploy/CONFIGURATION.md".to_owned(), configuration::document()?));
    if args.check { checkout.check(&files, "mlsdm-dev generate") } else { checkout.write(&files) }
}

/// The JSON of each dashboard with a YAML source.
fn dashboards(checkout: &Checkout<'_>) -> anyhow::Result<Files> {
    let limits = Limits::of(&Slo::parse(&checkout.read("alerts/slo.yaml")?)?);
    let folder = checkout.path("dashboards");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().and_then(OsStr::to_str);
        if let (Some(name), Some("yaml")) = (name, path.extension().and_then(OsStr::to_str)) {
            let source = checkout.read(&format!("dashboards/{name}.yaml"))?;
            files.push((format!("dashboards/{name}.json"), dashboard(name, &source, &limits)?));
        }
    }
    Ok(files)
}
