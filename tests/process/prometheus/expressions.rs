//! The expressions of the shipped rules and dashboards, and the parts of each that have to have
//! data.

use std::{collections::BTreeMap, fs};

use promql_parser::parser::{self, Expr};
use serde_json::Value;

use super::stack::{self, Prometheus};

/// An expression and its location.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) place: String,
    pub(super) text: String,
}

/// The expressions of all loaded rules.
pub(super) async fn of_rules(prometheus: &Prometheus) -> Vec<Found> {
    let data = prometheus.data("rules", &[]).await;
    let mut found = Vec::new();
    for group in data["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["name"].as_str().unwrap();
            let text = rule["query"].as_str().unwrap().to_owned();
            assert_eq!(rule["health"], "ok", "{name}: {rule}");
            found.push(Found { place: format!("rule {name}"), text });
        }
    }
    found
}

/// The expressions of all dashboards, with a value for each variable.
pub(super) fn of_dashboards() -> Vec<Found> {
    stack::files("dashboards", "json").iter().flat_map(|path| of_dashboard(path)).collect()
}

fn of_dashboard(path: &std::path::Path) -> Vec<Found> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let variables = variables(&dashboard);
    let mut found = Vec::new();
    let mut add = |place: &str, source: &Value, target: &Value| {
        let kind = [target, source].into_iter().find_map(|v| v["datasource"]["type"].as_str());
        if let Some(text) = target["expr"].as_str().filter(|_| kind != Some("loki")) {
            let place = format!("dashboard {name}: {place}");
            found.push(Found { place, text: substituted(text, &variables) });
        }
    };
    for panel in panels(&dashboard["panels"]) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            add(panel["title"].as_str().unwrap_or_default(), panel, target);
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().into_iter().flatten() {
        add("annotation", annotation, annotation);
    }
    found
}

/// The panels, including those in collapsed rows.
fn panels(list: &Value) -> Vec<&Value> {
    let list = list.as_array().into_iter().flatten();
    list.flat_map(|panel| [vec![panel], panels(&panel["panels"])].concat()).collect()
}

/// The built-in variables of Grafana and those of a dashboard. A list of values stands for all of
/// them.
fn variables(dashboard: &Value) -> BTreeMap<String, String> {
    let known = [
        ("__rate_interval", "30s"),
        ("__interval", "15s"),
        ("__range", "10m"),
        ("__range_s", "600"),
        ("__interval_ms", "15000"),
    ];
    let mut all: BTreeMap<String, String> =
        known.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        let listed = variable["query"].as_str().unwrap_or_default();
        let value = match variable["type"].as_str() {
            Some("custom" | "interval" | "constant" | "textbox") => {
                listed.split(',').next().unwrap_or_default().trim()
            }
            _ => ".*",
        };
        all.insert(variable["name"].as_str().unwrap().to_owned(), value.to_owned());
    }
    all
}

fn substituted(expression: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = expression.to_owned();
    // the longest name first, since it may start with a shorter one
    let mut names: Vec<&String> = variables.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        let value = &variables[name];
        text = text.replace(&format!("${{{name}}}"), value);
        text = text.replace(&format!("${{{name}:regex}}"), value);
        text = text.replace(&format!("${name}"), value);
    }
    assert!(!text.contains('$'), "an unknown variable in {expression}");
    text
}

/// The parts of an expression that have data while the server runs. Comparisons, `and`, `or` and
/// `unless` may be empty, so these are split into their operands.
pub(super) fn operands(text: &str) -> Vec<String> {
    let mut operands = Vec::new();
    let expression = parser::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    walk(&expression, &mut operands);
    operands
}

fn walk(expression: &Expr, operands: &mut Vec<String>) {
    match expression {
        Expr::Paren(inside) => walk(&inside.expr, operands),
        Expr::Binary(both) if both.op.is_comparison_operator() || both.op.is_set_operator() => {
            walk(&both.lhs, operands);
            walk(&both.rhs, operands);
        }
        Expr::Call(call) if call.func.name == "absent" => {
            call.args.args.iter().for_each(|argument| walk(argument, operands));
        }
        Expr::NumberLiteral(_) => {}
        Expr::Aggregate(_)
        | Expr::Unary(_)
        | Expr::Binary(_)
        | Expr::Subquery(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Call(_)
        | Expr::Extension(_) => operands.push(expression.to_string()),
    }
}

/// Evaluates all expressions; gives those that fail or have no data.
pub(super) async fn without_data(prometheus: &Prometheus, all: &[Found]) -> Vec<String> {
    let mut silent = Vec::new();
    for Found { place, text } in all {
        // the whole expression has to be valid
        if let Err(error) = prometheus.query(text).await {
            silent.push(format!("{place}: {error}\n    {text}"));
            continue;
        }
        for operand in operands(text) {
            match prometheus.query(&operand).await {
                Ok(series) if series.iter().any(has_number) => {}
                Ok(series) => silent.push(format!("{place}: {series:?}\n    {operand}")),
                Err(error) => silent.push(format!("{place}: {error}\n    {operand}")),
            }
        }
    }
    silent
}

fn has_number(series: &Value) -> bool {
    let value = [&series["value"][1], &series["result"][1]].into_iter().find_map(Value::as_str);
    value.is_some_and(|value| value != "NaN")
}

#[test]
fn expressions_that_may_be_empty_are_split_into_operands() {
    let of = |text: &str| operands(text);
    assert_eq!(of("rate(a[5m]) / b > 0.5 and on (x) (c)"), ["rate(a[5m]) / b", "c"]);
    assert_eq!(of("up{job=\"m\"} == 0 or absent(up)"), ["up{job=\"m\"}", "up"]);
    assert_eq!(of("sum by (x) (a)"), ["sum by (x) (a)"]);
    assert!(of("1 > bool 2").is_empty());
}

#[test]
fn the_variable_with_the_longest_name_is_replaced_first() {
    let variables = variables(&serde_json::json!({"templating": {"list": [
        {"name": "engine", "type": "query"},
        {"name": "engine_kind", "type": "custom", "query": "small, large"},
    ]}}));
    let text = "rate(a{e=~\"$engine\",k=\"${engine_kind}\"}[$__rate_interval])";
    let expected = "rate(a{e=~\".*\",k=\"small\"}[30s])";
    assert_eq!(substituted(text, &variables), expected);
}
