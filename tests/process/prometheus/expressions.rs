//! The expressions that are shipped, in rules and on dashboards, and what of each must give data.

use std::{collections::BTreeMap, fs};

use promql_parser::parser::{self, Expr};
use serde_json::Value;

use super::stack::{self, Prometheus};

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) place: String,
    pub(super) text: String,
}

/// Those of all loaded rules.
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

/// Those of all dashboards, with something sensible for each variable.
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

/// Panels, those of collapsed rows included.
fn panels(list: &Value) -> Vec<&Value> {
    let list = list.as_array().into_iter().flatten();
    list.flat_map(|panel| [vec![panel], panels(&panel["panels"])].concat()).collect()
}

/// Grafana's own variables and those of a dashboard. Whoever lists values means all of them.
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
    // the longest first: one name may begin another
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

/// What of an expression gives data whenever the server is there: the operands of comparisons, and of
/// `and`, `or` and `unless`, which may rightly give nothing; else all of it.
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

/// Runs them all; gives those that fail or have no number to show.
pub(super) async fn without_data(prometheus: &Prometheus, all: &[Found]) -> Vec<String> {
    let mut silent = Vec::new();
    for Found { place, text } in all {
        // as a whole it must at least run
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
fn what_may_rightly_be_nothing_is_taken_apart() {
    let of = |text: &str| operands(text);
    assert_eq!(of("rate(a[5m]) / b > 0.5 and on (x) (c)"), ["rate(a[5m]) / b", "c"]);
    assert_eq!(of("up{job=\"m\"} == 0 or absent(up)"), ["up{job=\"m\"}", "up"]);
    assert_eq!(of("sum by (x) (a)"), ["sum by (x) (a)"]);
    assert!(of("1 > bool 2").is_empty());
}

#[test]
fn variables_are_replaced_the_longest_first() {
    let variables = variables(&serde_json::json!({"templating": {"list": [
        {"name": "engine", "type": "query"},
        {"name": "engine_kind", "type": "custom", "query": "small, large"},
    ]}}));
    let text = "rate(a{e=~\"$engine\",k=\"${engine_kind}\"}[$__rate_interval])";
    let expected = "rate(a{e=~\".*\",k=\"small\"}[30s])";
    assert_eq!(substituted(text, &variables), expected);
}
