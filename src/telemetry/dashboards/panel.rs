//! A panel as Grafana wants it.

use serde_json::{Value, json};

use super::{
    FAMILY, Promises,
    source::{Datasource, Error, Kind, Panel, Query, Step, Word, expand, promised},
};

/// The dashboard that asks a Loki, where variables of the same names have other values.
const OF_LOGS: &str = "logs";

/// What a panel shows where there is nothing to show yet.
const NOTHING_YET: &str = "no traffic yet";

/// The JSON of a panel.
pub(super) fn json(
    panel: &Panel,
    id: usize,
    at: &Value,
    datasource: Datasource,
    promises: &Promises,
) -> Result<Value, Error> {
    let limit = |text: &str| number(panel, text, promises);
    let mut defaults = json!({
        "unit": panel.unit,
        "noValue": NOTHING_YET,
        "custom": custom(panel),
        "mappings": words(&panel.words, &limit)?,
        "thresholds": { "mode": "absolute", "steps": steps(&panel.steps, &limit)? },
        "color": { "mode": color(panel) },
    });
    for (key, value) in [
        ("min", panel.min.map(Value::from)),
        ("max", panel.max.map(Value::from)),
        ("decimals", panel.decimals.map(Value::from)),
    ] {
        if let Some(value) = value {
            defaults[key] = value;
        }
    }
    let queries = panel.queries.iter().enumerate();
    let targets = queries.map(|(place, query)| target(panel, query, place, datasource, promises));
    Ok(json!({
        "id": id,
        "type": kind(panel.kind),
        "title": panel.title,
        "description": panel.description.trim(),
        "datasource": datasource.reference(),
        "gridPos": at,
        "fieldConfig": { "defaults": defaults, "overrides": [] },
        "options": options(panel),
        "links": panel.more.iter().map(|more| link(more, datasource)).collect::<Vec<Value>>(),
        "targets": targets.collect::<Result<Vec<Value>, Error>>()?,
    }))
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Stat => "stat",
        Kind::Lines => "timeseries",
        Kind::States => "state-timeline",
        Kind::Heatmap => "heatmap",
        Kind::Logs => "logs",
    }
}

fn target(
    panel: &Panel,
    query: &Query,
    place: usize,
    datasource: Datasource,
    promises: &Promises,
) -> Result<Value, Error> {
    let unknown = |limit| Error::Limit { panel: panel.title.clone(), limit };
    let expr = promised(&expand(&query.expr), promises).map_err(unknown)?;
    let letter = char::from(b'A' + place as u8);
    let mut target = json!({
        "refId": letter.to_string(),
        "datasource": datasource.reference(),
        "expr": expr,
        "legendFormat": query.legend,
    });
    match datasource {
        Datasource::Prometheus => {
            let now = panel.kind == Kind::Stat;
            target["instant"] = now.into();
            target["range"] = (!now).into();
            target["exemplar"] = panel.exemplars.into();
            if panel.kind == Kind::Heatmap {
                target["format"] = "heatmap".into();
            }
        }
        Datasource::Loki => {
            target["queryType"] = if panel.kind == Kind::Stat { "instant" } else { "range" }.into();
        }
    }
    Ok(target)
}

/// To another dashboard, at the same time, and of the same processes if both ask a Prometheus.
fn link(more: &str, from: Datasource) -> Value {
    let same = from == Datasource::Prometheus && more != OF_LOGS;
    let variables = if same { "&${__all_variables}" } else { "" };
    json!({
        "title": format!("More: {more}"),
        "url": format!("/d/{FAMILY}-{more}?${{__url_time_range}}{variables}"),
    })
}

const fn color(panel: &Panel) -> &'static str {
    match panel.kind {
        Kind::Stat | Kind::States => "thresholds",
        Kind::Lines | Kind::Heatmap | Kind::Logs => "palette-classic",
    }
}

fn custom(panel: &Panel) -> Value {
    match panel.kind {
        Kind::Lines => json!({
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": if panel.stack { 40 } else { 5 },
            "showPoints": "never",
            "spanNulls": false,
            "stacking": { "mode": if panel.stack { "normal" } else { "none" }, "group": "A" },
            "thresholdsStyle": { "mode": if panel.steps.is_empty() { "off" } else { "dashed" } },
        }),
        Kind::States => json!({ "lineWidth": 0, "fillOpacity": 70 }),
        Kind::Stat | Kind::Heatmap | Kind::Logs => json!({}),
    }
}

fn options(panel: &Panel) -> Value {
    match panel.kind {
        Kind::Stat => json!({
            "colorMode": if panel.steps.is_empty() && panel.words.is_empty() { "none" } else { "background" },
            "graphMode": "none",
            "textMode": "auto",
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        }),
        Kind::Lines => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Kind::States => json!({
            "mergeValues": true,
            "showValue": "auto",
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false },
        }),
        Kind::Heatmap => json!({
            "calculate": false,
            "cellGap": 1,
            "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64 },
            "yAxis": { "unit": panel.unit },
            "tooltip": { "mode": "single", "yHistogram": true },
        }),
        Kind::Logs => json!({
            "showTime": true,
            "wrapLogMessage": true,
            "enableLogDetails": true,
            "sortOrder": "Descending",
            "dedupStrategy": "none",
        }),
    }
}

fn steps(steps: &[Step], limit: &dyn Fn(&str) -> Result<f64, Error>) -> Result<Vec<Value>, Error> {
    if steps.is_empty() {
        return Ok(vec![json!({ "color": "green", "value": null })]);
    }
    let step = |step: &Step| {
        let at = step.at.as_deref().map(limit).transpose()?;
        Ok(json!({ "color": step.color, "value": at }))
    };
    steps.iter().map(step).collect()
}

/// Words for values, and one for a ratio of nothing to nothing. Both ends of a range belong to it and
/// the first that fits counts, so the highest comes first.
fn words(words: &[Word], limit: &dyn Fn(&str) -> Result<f64, Error>) -> Result<Vec<Value>, Error> {
    let mut all = vec![json!({
        "type": "special",
        "options": { "match": "null+nan", "result": { "text": NOTHING_YET, "color": "text", "index": 0 } },
    })];
    for (place, word) in words.iter().enumerate().rev() {
        let to = words.get(place + 1).map(|next| limit(&next.from)).transpose()?;
        let result = json!({ "text": word.text, "color": word.color, "index": place + 1 });
        let options = json!({ "from": limit(&word.from)?, "to": to, "result": result });
        all.push(json!({ "type": "range", "options": options }));
    }
    Ok(all)
}

fn number(panel: &Panel, text: &str, promises: &Promises) -> Result<f64, Error> {
    let number = text.parse().ok().or_else(|| promises.limit(text));
    number.ok_or_else(|| Error::Limit { panel: panel.title.clone(), limit: text.to_owned() })
}
