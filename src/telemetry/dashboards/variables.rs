//! The variables of a dashboard.

use serde_json::{Value, json};

use super::source::{Datasource, Source};

/// All jobs of this server. `.+` would match other jobs too, whose metrics have the same names (`up`,
/// `process_…`).
const JOBS: &str = "mlsdm.*";

/// Data source, job and instance; then the variables that only this dashboard has.
pub(super) fn all(source: &Source) -> Vec<Value> {
    let mut all = vec![datasource(source.datasource)];
    match source.datasource {
        Datasource::Prometheus => {
            all.push(metric_label("job", "Job", "label_values(mlsdm_build_info, job)", JOBS));
            let instances = r#"label_values(mlsdm_build_info{job=~"$job"}, instance)"#;
            all.push(metric_label("instance", "Instance", instances, ".+"));
        }
        Datasource::Loki => {
            all.push(log_label("job", "Job", "", JOBS));
            all.push(log_label("instance", "Instance", r#"{job=~"$job"}"#, ".*"));
            all.push(search());
        }
    }
    if source.engine {
        let engines =
            r#"label_values(mlsdm_steps_total{job=~"$job", instance=~"$instance"}, engine)"#;
        all.push(metric_label("engine", "Engine", engines, ".+"));
    }
    all
}

fn datasource(kind: Datasource) -> Value {
    json!({
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": kind.name(),
        "refresh": 1,
        "hide": 0,
    })
}

fn metric_label(name: &str, label: &str, query: &str, every: &str) -> Value {
    let query = json!({ "qryType": 1, "query": query, "refId": name });
    label_variable(name, label, Datasource::Prometheus, &query, every)
}

fn log_label(name: &str, label: &str, stream: &str, every: &str) -> Value {
    let query = json!({ "type": 1, "label": name, "stream": stream, "refId": name });
    label_variable(name, label, Datasource::Loki, &query, every)
}

/// A variable with the values of a label. All values are selected at first, and the list is reloaded
/// when the time range changes.
fn label_variable(
    name: &str,
    label: &str,
    source: Datasource,
    query: &Value,
    every: &str,
) -> Value {
    json!({
        "type": "query",
        "name": name,
        "label": label,
        "datasource": source.reference(),
        "query": query,
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        "allValue": every,
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "hide": 0,
    })
}

/// Free text that shown log lines must contain, such as a request id or a trace id.
fn search() -> Value {
    json!({
        "type": "textbox",
        "name": "search",
        "label": "Search",
        "description": "Show only lines that contain this text: a request id, a trace id or an error code.",
        "query": "",
        "current": { "text": "", "value": "" },
        "hide": 0,
    })
}
