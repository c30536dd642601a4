//! Generates Grafana dashboards from short YAML sources.
//!
//! `dashboards/<name>.yaml` holds titles, descriptions and queries. The generated `<name>.json` adds
//! the parts that all dashboards share: data source, variables, layout, links and the text for empty
//! panels. Limits that belong to an SLO are named in the source and come from `alerts/slo.yaml`, so
//! each number exists once.
//!
//! The quality of queries is deliberately not checked here. Tests lint the JSON and run every query
//! against a Prometheus that scrapes the server.

mod grid;
mod limits;
mod panel;
mod source;
mod variables;

use serde_json::{Value, json};

pub use limits::Limits;
pub use source::Error;
use source::{Datasource, FAMILY, Source};

/// Generates the JSON of a dashboard from its YAML source; `name` is the file name without extension.
///
/// # Errors
/// When the source is malformed or names an unknown limit.
pub fn dashboard(name: &str, source: &str, limits: &Limits) -> Result<String, Error> {
    let source = Source::parse(name, source)?;
    let mut grid = grid::Grid::default();
    let mut panels = Vec::new();
    for (index, panel) in source.panels.iter().enumerate() {
        let position = grid.position(panel.size);
        panels.push(panel::json(panel, index + 1, &position, source.datasource, limits)?);
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

/// One tag for all dashboards, one for those with the same kind of data source.
fn tags(datasource: Datasource) -> [String; 2] {
    [FAMILY.to_owned(), format!("{FAMILY}-{}", datasource.name())]
}

/// A link to all dashboards with a kind of data source, for the same time range. Variables are passed
/// only between equal kinds: `instance` is an address in metrics and a container in logs.
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

/// Marks process starts on dashboards of metrics.
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
