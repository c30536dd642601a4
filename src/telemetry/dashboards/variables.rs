//! The variables of a dashboard, in the bar above it.

use serde_json::{Value, json};

use super::source::{Datasource, Source};

/// All jobs of this server. Not `.+`: other jobs have metrics of the same name (`up`, `process_…`).
const JOBS: &str = "mlsdm.*";

/// All variables: whom to ask, which processes, and what the dashboard itself can be narrowed to.
pub(super) fn all(source: &Source) -> Vec<Value> {
    let mut all = vec![datasource(source.datasource)];
    match source.datasource {
        Datasource::Prometheus => {
            all.push(of_metric("job", "Job", "label_values(mlsdm_build_info, job)", JOBS));
            let instances = r#"label_values(mlsdm_build_info{job=~"$job"}, instance)"#;
            all.push(of_metric("instance", "Instance", instances, ".+"));
        }
        Datasource::Loki => {
            all.push(of_log("job", "Job", "", JOBS));
            all.push(of_log("instance", "Instance", r#"{job=~"$job"}"#, ".*"));
            all.push(search());
        }
    }
    if source.engine {
        let engines =
            r#"label_values(mlsdm_steps_total{job=~"$job", instance=~"$instance"}, engine)"#;
        all.push(of_metric("engine", "Engine", engines, ".+"));
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

fn of_metric(name: &str, label: &str, query: &str, every: &str) -> Value {
    let query = json!({ "qryType": 1, "query": query, "refId": name });
    one(name, label, Datasource::Prometheus, &query, every)
}

fn of_log(name: &str, label: &str, stream: &str, every: &str) -> Value {
    let query = json!({ "type": 1, "label": name, "stream": stream, "refId": name });
    one(name, label, Datasource::Loki, &query, every)
}

/// A variable with the values of a label, all of them at first; read anew when the time changes.
fn one(name: &str, label: &str, source: Datasource, query: &Value, every: &str) -> Value {
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

/// A text that lines must have: the id of a request or a trace.
fn search() -> Value {
    json!({
        "type": "textbox",
        "name": "search",
        "label": "Lines with",
        "description": "A request id, a trace id, an error code: any text that a line must have.",
        "query": "",
        "current": { "text": "", "value": "" },
        "hide": 0,
    })
}
