//! The shipped `LogQL` queries, parsed with Grafana's grammar and run on sample lines.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::asked::asked;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The example queries, one per line.
fn examples() -> Vec<String> {
    let text = read("deploy/monitoring/loki/logql-examples.md");
    let blocks = text.split("```logql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// The lines that a panel of the dashboard shows or counts, as a query over all processes.
fn shown(title: &str) -> String {
    let board: Value = serde_json::from_str(&read("dashboards/logs.json")).unwrap();
    let mut panels = board["panels"].as_array().unwrap().iter();
    let panel = panels.find(|panel| panel["title"] == title).unwrap();
    let query = text(&panel["targets"][0]["expr"]);
    let lines = query.split_once("count_over_time(").map_or(&*query, |(_, rest)| rest);
    let lines = lines.split(" [$__auto]").next().unwrap();
    lines.replace("$job", "mlsdm.*").replace("$instance", ".*").replace("$search", "")
}

/// The alerting rules.
fn rules() -> Vec<Value> {
    let path = root().join("deploy/monitoring/loki/rules.yaml");
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    rules["groups"][0]["rules"].as_array().unwrap().clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

/// The queries of panels with a Loki data source, with values for their variables.
fn panels() -> Vec<String> {
    let folder = root().join("dashboards");
    let files: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    let json = files.iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut queries = Vec::new();
    for file in json {
        let board: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        collect(&board, &mut queries);
    }
    queries
}

fn collect(value: &Value, queries: &mut Vec<String>) {
    if let Some(panel) = value.as_object() {
        let targets = panel.get("targets").and_then(Value::as_array).into_iter().flatten();
        for target in targets {
            let of = |part: &Value| part["datasource"]["type"] == "loki";
            if let (true, Some(expr)) = (of(target) || of(value), target["expr"].as_str()) {
                queries.push(filled(expr));
            }
        }
        panel.values().for_each(|inner| collect(inner, queries));
    }
    value.as_array().into_iter().flatten().for_each(|inner| collect(inner, queries));
}

/// A query as Grafana sends it.
fn filled(query: &str) -> String {
    let mut filled = query.to_owned();
    for name in ["__auto", "__interval", "__range", "__rate_interval"] {
        filled = filled.replace(&format!("[${name}]"), "[5m]");
        filled = filled.replace(&format!("[${{{name}}}]"), "[5m]");
    }
    while let Some(at) = filled.find('$') {
        let rest = &filled[at + 1..];
        let end = match rest.strip_prefix('{') {
            Some(braced) => braced.find('}').unwrap() + 2,
            None => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        filled.replace_range(at..=at + end, "x");
    }
    filled
}

#[test]
fn every_shipped_query_parses() {
    let (examples, panels) = (examples(), panels());
    assert!(examples.len() >= 20, "{examples:?}");
    let rules = rules().iter().map(|rule| text(&rule["expr"])).collect::<Vec<_>>();
    let all = [examples, rules, panels].concat();
    for (query, answer) in all.iter().zip(asked(&all, &json!([]))) {
        assert_eq!(answer["error"], Value::Null, "{query}");
    }
    let wrong = ["{job=\"mlsdm\"", "{job=\"mlsdm\"} | json |", "sum({job=\"a\"})"];
    for answer in asked(&wrong.map(str::to_owned), &json!([])) {
        assert_ne!(answer["error"], Value::Null, "an invalid query is an error");
    }
}

#[test]
fn panels_select_levels_of_shipped_and_pushed_lines() {
    let roads =
        [("mlsdm", ["ERROR", "WARNING", "INFO"]), ("mlsdm-direct", ["error", "warn", "info"])];
    let line = |job: &str, level: &str| {
        let (mut labels, mut line) = (json!({"job": job}), json!({"message": "something"}));
        // a shipped line has the level in its JSON, a pushed line has it as a label
        let place = if job == "mlsdm" { &mut line } else { &mut labels };
        place["level"] = level.into();
        json!({"labels": labels, "metadata": {}, "line": line.to_string()})
    };
    let lines = roads.iter().flat_map(|(job, levels)| levels.map(|level| line(job, level)));
    let lines: Vec<Value> = lines.collect();
    let titles = ["Errors", "Lines at ERROR and WARNING", "Matching lines"];
    let found = asked(&titles.map(shown), &json!(lines));
    let found: Vec<Value> = found.iter().map(|answer| answer["selected"].clone()).collect();
    assert_eq!(found, [json!([0, 3]), json!([0, 1, 3, 4]), json!([0, 1, 2, 3, 4, 5])]);
}

#[test]
fn each_example_has_a_query_for_shipped_and_one_for_pushed_lines() {
    for pair in examples().chunks(2) {
        let [shipped, pushed] = pair else { panic!("an example without its pair: {pair:?}") };
        assert!(shipped.contains("{job=\"mlsdm\"}"), "{shipped}");
        assert!(pushed.contains("{job=\"mlsdm-direct\""), "{pushed}");
    }
}

#[test]
fn log_alerts_have_runbooks_and_dashboards() {
    let rules = rules();
    let names: Vec<String> = rules.iter().map(|rule| text(&rule["alert"])).collect();
    assert_eq!(names, ["MlsdmLogErrorSpike", "MlsdmPanicLogged", "MlsdmSecretInLogs"]);
    let runbook = read("deploy/RUNBOOK.md");
    let grafana = crate::files::yaml("alerts/slo.yaml")["links"]["grafana"].clone();
    for (rule, name) in rules.iter().zip(&names) {
        let annotations = &rule["annotations"];
        for field in ["summary", "description"] {
            assert!(!text(&annotations[field]).is_empty(), "{name}");
        }
        let heading = format!("/deploy/RUNBOOK.md#{}", name.to_lowercase());
        assert!(text(&annotations["runbook_url"]).ends_with(&heading), "{name}");
        let dashboard = format!("{}/d/mlsdm-logs", text(&grafana));
        assert_eq!(annotations["dashboard_url"], dashboard, "{name}");
        let (_, section) = runbook.split_once(&format!("\n### {name}\n")).unwrap();
        let section = section.split("\n### ").next().unwrap();
        let query = format!("```logql\n{}\n```", text(&rule["expr"]).trim());
        assert!(section.contains(&query), "{name}: the runbook does not have its query");
        assert!(["page", "ticket"].contains(&text(&rule["labels"]["severity"]).as_str()), "{name}");
    }
}

#[test]
fn the_secret_alert_matches_secrets_and_no_ordinary_lines() {
    let rule = &rules()[2];
    let pattern = text(&rule["expr"]).split('`').nth(1).unwrap().to_owned();
    let query = format!("{{job=\"mlsdm\"}} |~ `{pattern}`");
    let secrets = [
        "sk-proj-abcdefghijklmnopqrstuvwxyz",
        "mlsdm_0199a8b4c5d67e8f9a0b1c2d3e4f5061_Q2hhbmdlIG1lIHBsZWFzZSBub3c",
        "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
        "postgres://mlsdm:geheim@db/mlsdm",
    ];
    let ordinary = [
        r#"{"event_type":"http.request","request_id":"01989a7e-0000-7000-8000-000000000000"}"#,
        r#"{"address":"127.0.0.1:8000","metrics":"127.0.0.1:9090","docs":"http://127.0.0.1:8000/docs"}"#,
        r#"{"actor":"key:0199a8b4c5d67e8f9a0b1c2d3e4f5061"}"#,
    ];
    let line = |line: &&str| json!({"labels": {"job": "mlsdm"}, "metadata": {}, "line": line});
    let lines: Vec<Value> = secrets.iter().chain(&ordinary).map(line).collect();
    let answer = asked(&[query], &json!(lines)).remove(0);
    let expected: Vec<usize> = (0..secrets.len()).collect();
    assert_eq!(answer["selected"], json!(expected), "{answer}");
}
