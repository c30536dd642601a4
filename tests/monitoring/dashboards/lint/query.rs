//! Rules for queries.

use std::collections::BTreeSet;

use promql_parser::parser::Expr;

use super::{
    super::promql::{self, RATE_INTERVAL, Selected},
    Subject, string, unless,
};

/// The labels that a scrape adds to every series.
const SCRAPED: [&str; 2] = ["job", "instance"];

/// The functions that turn a counter into a rate or a difference.
const OF_COUNTERS: [&str; 3] = ["rate", "irate", "increase"];

/// The selectors in valid queries that break a rule.
fn each(of: &Subject<'_>, breaks: impl Fn(&Selected<'_>) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for (title, query) in parsed(of) {
        for selected in promql::selectors(&query) {
            if breaks(&selected) {
                broken.push(format!("{title}: {}", selected.selector));
            }
        }
    }
    broken
}

fn parsed<'d>(of: &Subject<'d>) -> Vec<(&'d str, Expr)> {
    if of.asks() != "prometheus" {
        return Vec::new();
    }
    let parsed = of
        .queries()
        .filter_map(|(title, _, query)| Some((title, promql::parse(string(&query["expr"])).ok()?)));
    parsed.collect()
}

pub(super) fn valid(of: &Subject<'_>) -> Vec<String> {
    let asks = of.asks() == "prometheus";
    let queries = of.queries().filter(|_| asks).filter_map(|(title, _, query)| {
        let wrong = promql::parse(string(&query["expr"])).err()?;
        Some(format!("{title}: {wrong}"))
    });
    let unnamed = of.queries().filter(|(_, panel, query)| {
        panel["type"] != "logs" && string(&query["legendFormat"]).is_empty()
    });
    queries.chain(unnamed.map(|(title, ..)| format!("{title}: no legend"))).collect()
}

/// Rates use the interval of Grafana, since a fixed one skips samples when zoomed out and is empty
/// when it is too short.
pub(super) fn rate_interval(of: &Subject<'_>) -> Vec<String> {
    each(of, |selected| {
        let rate = matches!(selected.function(), Some("rate" | "irate"));
        rate && selected.range.is_some_and(|range| range.range.as_secs() != RATE_INTERVAL)
    })
}

pub(super) fn job(of: &Subject<'_>) -> Vec<String> {
    each(of, |selected| of_processes(selected) && !selected.matches("job", "$job"))
}

pub(super) fn instance(of: &Subject<'_>) -> Vec<String> {
    each(of, |selected| of_processes(selected) && !selected.matches("instance", "$instance"))
}

/// False for the results of recording rules, which are summed over processes.
fn of_processes(selected: &Selected<'_>) -> bool {
    !selected.name().contains(':') && selected.name() != "ALERTS"
}

/// Queries use rates of counters, since the value of a counter depends on the start of its process.
pub(super) fn counters(of: &Subject<'_>) -> Vec<String> {
    each(of, |selected| {
        let name = selected.name();
        let counts = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
        let counted = selected.function().is_some_and(|f| OF_COUNTERS.contains(&f));
        counts && name != "db_client_connection_count" && !counted
    })
}

/// Buckets are used only for quantiles and heatmaps: a bound in a query would repeat the number of
/// an SLO.
pub(super) fn histograms(of: &Subject<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for (title, panel, query) in of.queries().filter(|_| of.asks() == "prometheus") {
        let Ok(expr) = promql::parse(string(&query["expr"])) else { continue };
        for selected in promql::selectors(&expr) {
            let shown = panel["type"] == "heatmap" || selected.is_inside("histogram_quantile");
            if selected.name().ends_with("_bucket") && !shown {
                broken.push(format!("{title}: {}", selected.selector));
            }
        }
    }
    broken
}

pub(super) fn auto(of: &Subject<'_>) -> Vec<String> {
    if of.asks() != "loki" {
        return Vec::new();
    }
    let ranges = of.queries().flat_map(|(title, _, query)| {
        let expr = string(&query["expr"]);
        let ranges = expr.split('[').skip(1).filter(|range| !range.starts_with("$__auto]"));
        ranges.map(|range| format!("{title}: [{range}")).collect::<Vec<String>>()
    });
    let unbound = of.queries().filter(|(_, _, query)| {
        !string(&query["expr"]).contains(r#"{job=~"$job", instance=~"$instance"}"#)
    });
    ranges.chain(unbound.map(|(title, ..)| format!("{title}: not of $job, $instance"))).collect()
}

/// Every series is exported by the server or recorded by a rule, and has the labels of the query.
pub(super) fn contract(of: &Subject<'_>) -> Vec<String> {
    let mut unknown = Vec::new();
    for (title, expr) in parsed(of) {
        let mut labels: Option<BTreeSet<&str>> = Some(SCRAPED.into());
        for selected in promql::selectors(&expr) {
            let name = selected.name();
            match of.world.series.get(name) {
                None => unknown.push(format!("{title}: {name}")),
                Some(None) => labels = None,
                Some(Some(known)) => {
                    let matchers = selected.selector.matchers.matchers.iter();
                    let wrong = matchers
                        .map(|matcher| matcher.name.as_str())
                        .filter(|label| !known.contains(label) && !SCRAPED.contains(label));
                    unknown.extend(wrong.map(|label| format!("{title}: {name}{{{label}}}")));
                    if let Some(all) = &mut labels {
                        all.extend(known);
                    }
                }
            }
        }
        let grouped = promql::grouping(&expr);
        let wrong =
            grouped.iter().filter(|by| labels.as_ref().is_some_and(|all| !all.contains(*by)));
        unknown.extend(wrong.map(|by| format!("{title}: by {by}")));
    }
    unknown.extend(legends(of));
    unknown
}

/// The labels of a legend are in its query: `{{engine}}` is empty for a sum without `by (engine)`.
fn legends(of: &Subject<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (title, _, query) in of.queries() {
        let expr = string(&query["expr"]);
        for part in string(&query["legendFormat"]).split("{{").skip(1) {
            let label = part.split("}}").next().unwrap_or_default().trim();
            let grouped = expr.contains(" by (") || expr.contains("on (");
            let named =
                expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| w == label);
            wrong.extend(unless(!grouped || named, format!("{title}: {{{{{label}}}}}")));
        }
    }
    wrong
}
