//! Rules for panels.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Subject, list, string, unless};

/// Upper bound of the number of panels.
const PANELS_MAX: usize = 14;

/// The number of columns of a dashboard.
const COLUMNS: u64 = 24;

/// Lower bound of the length of a description, which has to contain the meaning and the remedy.
const DESCRIPTION_MIN: usize = 60;

/// The units of the exported numbers. More may be added from the list in
/// `packages/grafana-data/src/valueFormats/categories.ts` of Grafana.
const UNITS: [&str; 12] = [
    "none",
    "short",
    "percentunit",
    "s",
    "ms",
    "dtdurations",
    "bytes",
    "reqps",
    "ops",
    "currencyUSD",
    "bool",
    "dateTimeFromNow",
];

/// The types of panels that show numbers and need a unit.
const KINDS: [&str; 5] = ["stat", "timeseries", "state-timeline", "heatmap", "logs"];

pub(super) fn few(of: &Subject<'_>) -> Vec<String> {
    let count = of.panels().len();
    unless((1..=PANELS_MAX).contains(&count), format!("{count} panels"))
}

pub(super) fn ids(of: &Subject<'_>) -> Vec<String> {
    let ids: BTreeSet<i64> = of.panels().iter().filter_map(|panel| panel["id"].as_i64()).collect();
    unless(ids.len() == of.panels().len(), "an id twice, or none")
}

pub(super) fn places(of: &Subject<'_>) -> Vec<String> {
    let side = |panel: &Value, at: &str, long: &str| {
        let from = panel["gridPos"][at].as_u64()?;
        Some(from..from + panel["gridPos"][long].as_u64().filter(|length| *length > 0)?)
    };
    let mut wrong = Vec::new();
    let mut taken = BTreeSet::new();
    for panel in of.panels() {
        let (Some(columns), Some(rows)) = (side(panel, "x", "w"), side(panel, "y", "h")) else {
            wrong.push(format!("{}: no place", panel["title"]));
            continue;
        };
        let cells = rows.flat_map(|row| columns.clone().map(move |column| (row, column)));
        let twice = cells.filter(|cell| !taken.insert(*cell)).count();
        if twice > 0 || columns.end > COLUMNS {
            wrong.push(format!("{}: {}", panel["title"], panel["gridPos"]));
        }
    }
    wrong
}

/// Panels and queries use the data source of the variable.
pub(super) fn datasource(of: &Subject<'_>) -> Vec<String> {
    let wanted =
        |asked: &Value| asked["uid"] == "$datasource" && string(&asked["type"]) == of.asks();
    let wrong = of.panels().iter().filter(|panel| {
        let mut queries = list(&panel["targets"]).iter();
        !wanted(&panel["datasource"]) || queries.any(|query| !wanted(&query["datasource"]))
    });
    wrong.map(|panel| format!("{}", panel["title"])).collect()
}

/// A panel has a title and a description.
pub(super) fn title(of: &Subject<'_>) -> Vec<String> {
    let wrong = of.panels().iter().filter(|panel| {
        let description = string(&panel["description"]);
        string(&panel["title"]).is_empty()
            || description.len() < DESCRIPTION_MIN
            || !description.ends_with('.')
            || !description.contains(". ")
    });
    wrong.map(|panel| format!("{}: {}", panel["title"], panel["description"])).collect()
}

pub(super) fn units(of: &Subject<'_>) -> Vec<String> {
    let wrong = of.panels().iter().filter(|panel| {
        let unit = string(&panel["fieldConfig"]["defaults"]["unit"]);
        !UNITS.contains(&unit) || !KINDS.contains(&string(&panel["type"]))
    });
    let unit = |panel: &Value| format!("{}", panel["fieldConfig"]["defaults"]["unit"]);
    wrong.map(|panel| format!("{} ({}): {}", panel["title"], panel["type"], unit(panel))).collect()
}

pub(super) fn targets(of: &Subject<'_>) -> Vec<String> {
    let wrong = of.panels().iter().filter(|panel| {
        let queries = list(&panel["targets"]);
        let ids: BTreeSet<&str> = queries.iter().map(|query| string(&query["refId"])).collect();
        queries.is_empty() || ids.len() != queries.len()
    });
    wrong.map(|panel| format!("{}", panel["title"])).collect()
}

/// A panel has a text for missing data, both for no series and for a ratio of zero to zero.
pub(super) fn empty(of: &Subject<'_>) -> Vec<String> {
    let wrong = of.panels().iter().filter(|panel| {
        let defaults = &panel["fieldConfig"]["defaults"];
        let mapped = list(&defaults["mappings"]).iter().any(|mapping| {
            mapping["type"] == "special" && mapping["options"]["match"] == "null+nan"
        });
        string(&defaults["noValue"]).is_empty() || !mapped
    });
    wrong.map(|panel| format!("{}", panel["title"])).collect()
}
