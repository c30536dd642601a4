//! `mlsdm telemetry`: what this program tells of itself.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Subcommand;

use crate::telemetry::{
    metrics::contract,
    rules::{self, Sources},
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make Prometheus rules, their tests, deploy/SLO.md and the alerts of deploy/RUNBOOK.md from alerts/*.yaml.
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

/// Does it; `--json` makes no difference.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::Generate { checkout, check } => generate(checkout, *check),
        Action::Metrics => Ok(io::stdout().lock().write_all(contract::json()?.as_bytes())?),
    }
}

fn generate(checkout: &Path, check: bool) -> anyhow::Result<()> {
    let read = |name: &str| {
        let path = checkout.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let metrics: Vec<&str> = contract::ALL.iter().map(|spec| spec.name).collect();
    let made = rules::files(&Sources {
        slo: &read("alerts/slo.yaml")?,
        components: &read("alerts/components.yaml")?,
        runbook: &read("deploy/RUNBOOK.md")?,
        metrics: &metrics,
    })?;
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
