//! Grafana dashboards, made from what is particular to each.
//!
//! `dashboards/<name>.yaml` says what a dashboard asks and what its answers mean; `<name>.json`
//! beside it is what Grafana loads, with everything that all panels have in common: the data source
//! and the variables, places, links, what shows before there is data. Limits that are promises come
//! from `alerts/slo.yaml` by name, so none is typed twice.
//!
//! Deliberately not here: whether a query is good. Tests lint the JSON, whoever wrote it, and run
//! every query against a Prometheus that scrapes the server.

mod grid;
mod panel;
mod promises;
mod source;
mod variables;

use serde_json::{Value, json};

pub use promises::Promises;
pub use source::Error;
use source::{Datasource, Source};

/// What every dashboard's uid begins with, and the tags by which they link to each other.
const FAMILY: &str = "mlsdm";

/// The JSON of a dashboard.
///
/// `name` is that of its file, `source` the YAML.
///
/// # Errors
/// When the YAML is none, has a key too many or too few, or names a promise that there is not.
pub fn dashboard(name: &str, source: &str, promises: &Promises) -> Result<String, Error> {
    let source = Source::parse(name, source)?;
    let mut grid = grid::Grid::default();
    let mut panels = Vec::new();
    for (place, panel) in source.panels.iter().enumerate() {
        let at = grid.place(panel.size);
        panels.push(panel::json(panel, place + 1, &at, source.datasource, promises)?);
    }
    let mut text = serde_json::to_string_pretty(&whole(name, &source, &panels))
        .map_err(|source| Error::Json { name: name.to_owned(), source })?;
    text.push('\n');
    Ok(text)
}

fn whole(name: &str, source: &Source, panels: &[Value]) -> Value {
    json!({
        "uid": format!("{FAMILY}-{name}"),
        "title": source.title,
        "description": source.description.trim(),
        "tags": tags(source.datasource),
        "schemaVersion": 39,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": format!("now-{}", source.span), "to": "now" },
        "timezone": "",
        "links": Datasource::ALL.map(|to| link(source.datasource, to)),
        "annotations": { "list": annotations(source.datasource) },
        "templating": { "list": variables::all(source) },
        "panels": panels,
    })
}

/// By what dashboards are found: all of them, and those that ask the same kind of source.
fn tags(datasource: Datasource) -> [String; 2] {
    [FAMILY.to_owned(), format!("{FAMILY}-{}", datasource.name())]
}

/// To the dashboards that ask a kind of source, at the same time. Variables go along where they mean the
/// same: an instance is an address in metrics and a container in logs.
fn link(from: Datasource, to: Datasource) -> Value {
    json!({
        "type": "dashboards",
        "title": "MLSDM",
        "tags": tags(to),
        "asDropdown": false,
        "includeVars": from == to,
        "keepTime": true,
    })
}

/// Restarts, where the numbers can tell.
fn annotations(datasource: Datasource) -> Vec<Value> {
    match datasource {
        Datasource::Prometheus => vec![json!({
            "name": "Started",
            "datasource": datasource.reference(),
            "enable": true,
            "iconColor": "purple",
            "expr": source::expand(
                "changes(process_start_time_seconds{..}[$__rate_interval]) > 0",
            ),
            "titleFormat": "{{instance}} started",
        })],
        Datasource::Loki => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
