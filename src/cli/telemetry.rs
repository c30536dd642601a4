//! `mlsdm telemetry`: what this program tells of itself.

mod doctor;

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Subcommand;

use super::Context;
use crate::{
    http::metrics::contract,
    telemetry::{
        dashboards::{Limits, dashboard},
        rules::{self, Slo, Sources},
    },
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send a log line and a span through each sink of the configuration, ask for the server's
    /// metrics, and say what arrived (1 if something did not).
    Doctor(doctor::Args),
    /// Make Prometheus rules, their tests, deploy/SLO.md and the alerts of deploy/RUNBOOK.md from
    /// alerts/*.yaml, and dashboards/*.json from the YAML beside them.
    Generate {
        /// A checkout of this program's source.
        #[arg(default_value = ".")]
        checkout: PathBuf,
        /// Change nothing; fail if a file is old.
        #[arg(long)]
        check: bool,
    },
    /// List the metrics, as `alerts/metrics.json` holds them: name, kind, labels, unit, meaning.
    Metrics,
}

/// Does it; `--json` makes a difference to the doctor only.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::Doctor(args) => doctor::run(context, args).await,
        Action::Generate { checkout, check } => generate(&checkout, check),
        Action::Metrics => Ok(io::stdout().lock().write_all(contract::json()?.as_bytes())?),
    }
}

fn generate(checkout: &Path, check: bool) -> anyhow::Result<()> {
    let read = |name: &str| {
        let path = checkout.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let metrics: Vec<&str> = contract::ALL.iter().map(|spec| spec.name).collect();
    let slo = read("alerts/slo.yaml")?;
    let mut made = rules::files(&Sources {
        slo: &slo,
        components: &read("alerts/components.yaml")?,
        runbook: &read("deploy/RUNBOOK.md")?,
        metrics: &metrics,
    })?;
    made.extend(dashboards(checkout, &Limits::of(&Slo::parse(&slo)?))?);
    let mut old = Vec::new();
    for (name, text) in made {
        if read(&name).is_ok_and(|there| there == text) {
            continue;
        }
        if !check {
            let path = checkout.join(&name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, text)?;
        }
        old.push(name);
    }
    anyhow::ensure!(!check || old.is_empty(), "run `mlsdm telemetry generate`: old are {old:?}");
    Ok(())
}

/// The JSON of each dashboard there is a source of, with its path.
fn dashboards(checkout: &Path, limits: &Limits) -> anyhow::Result<rules::Files> {
    let folder = checkout.join("dashboards");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut made = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().and_then(OsStr::to_str);
        if let (Some(name), Some("yaml")) = (name, path.extension().and_then(OsStr::to_str)) {
            let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            made.push((format!("dashboards/{name}.json"), dashboard(name, &source, limits)?));
        }
    }
    Ok(made)
}
