//! The JSON of a panel.

use serde_json::{Value, json};

use super::{
    limits::Limits,
    source::{
        Datasource, Error, FAMILY, Kind, Mapping, Panel, Query, Threshold, expand, replace_limits,
    },
};

/// The dashboard with a Loki data source: its variables have the same names but other values.
const LOGS: &str = "logs";

/// Text of a panel without data.
const NO_DATA: &str = "no traffic yet";

/// The JSON of a panel.
pub(super) fn json(
    panel: &Panel,
    id: usize,
    position: &Value,
    datasource: Datasource,
    limits: &Limits,
) -> Result<Value, Error> {
    let limit = |text: &str| number(panel, text, limits);
    let mut defaults = json!({
        "unit": panel.unit,
        "noValue": NO_DATA,
        "custom": custom(panel),
        "mappings": mappings(&panel.mappings, &limit)?,
        "thresholds": { "mode": "absolute", "steps": thresholds(&panel.thresholds, &limit)? },
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
    let targets = queries.map(|(index, query)| target(panel, query, index, datasource, limits));
    Ok(json!({
        "id": id,
        "type": kind(panel.kind),
        "title": panel.title,
        "description": panel.description.trim(),
        "datasource": datasource.reference(),
        "gridPos": position,
        "fieldConfig": { "defaults": defaults, "overrides": [] },
        "options": options(panel),
        "links": panel.link.iter().map(|name| link(name, datasource)).collect::<Vec<Value>>(),
        "targets": targets.collect::<Result<Vec<Value>, Error>>()?,
    }))
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Stat => "stat",
        Kind::Timeseries => "timeseries",
        Kind::StateTimeline => "state-timeline",
        Kind::Heatmap => "heatmap",
        Kind::Logs => "logs",
    }
}

fn target(
    panel: &Panel,
    query: &Query,
    index: usize,
    datasource: Datasource,
    limits: &Limits,
) -> Result<Value, Error> {
    let unknown = |limit| Error::Limit { panel: panel.title.clone(), limit };
    let expr = replace_limits(&expand(&query.expr), limits).map_err(unknown)?;
    let letter = char::from(b'A' + index as u8);
    let mut target = json!({
        "refId": letter.to_string(),
        "datasource": datasource.reference(),
        "expr": expr,
        "legendFormat": query.legend,
    });
    match datasource {
        Datasource::Prometheus => {
            let instant = panel.kind == Kind::Stat;
            target["instant"] = instant.into();
            target["range"] = (!instant).into();
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

/// A link to another dashboard for the same time range, and for the same processes if both dashboards
/// show metrics.
fn link(name: &str, from: Datasource) -> Value {
    let same = from == Datasource::Prometheus && name != LOGS;
    let variables = if same { "&${__all_variables}" } else { "" };
    json!({
        "title": format!("More: {name}"),
        "url": format!("/d/{FAMILY}-{name}?${{__url_time_range}}{variables}"),
    })
}

const fn color(panel: &Panel) -> &'static str {
    match panel.kind {
        Kind::Stat | Kind::StateTimeline => "thresholds",
        Kind::Timeseries | Kind::Heatmap | Kind::Logs => "palette-classic",
    }
}

fn custom(panel: &Panel) -> Value {
    match panel.kind {
        Kind::Timeseries => json!({
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": if panel.stack { 40 } else { 5 },
            "showPoints": "never",
            "spanNulls": false,
            "stacking": { "mode": if panel.stack { "normal" } else { "none" }, "group": "A" },
            "thresholdsStyle": { "mode": if panel.thresholds.is_empty() { "off" } else { "dashed" } },
        }),
        Kind::StateTimeline => json!({ "lineWidth": 0, "fillOpacity": 70 }),
        Kind::Stat | Kind::Heatmap | Kind::Logs => json!({}),
    }
}

fn options(panel: &Panel) -> Value {
    match panel.kind {
        Kind::Stat => json!({
            "colorMode": if panel.thresholds.is_empty() && panel.mappings.is_empty() { "none" } else { "background" },
            "graphMode": "none",
            "textMode": "auto",
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        }),
        Kind::Timeseries => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Kind::StateTimeline => json!({
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

fn thresholds(
    thresholds: &[Threshold],
    limit: &dyn Fn(&str) -> Result<f64, Error>,
) -> Result<Vec<Value>, Error> {
    if thresholds.is_empty() {
        return Ok(vec![json!({ "color": "green", "value": null })]);
    }
    let json = |threshold: &Threshold| {
        let at = threshold.at.as_deref().map(limit).transpose()?;
        Ok(json!({ "color": threshold.color, "value": at }))
    };
    thresholds.iter().map(json).collect()
}

/// Mappings of values, after one for empty ratios. Grafana includes both ends of a range and takes the
/// first match, so the highest range comes first.
fn mappings(
    mappings: &[Mapping],
    limit: &dyn Fn(&str) -> Result<f64, Error>,
) -> Result<Vec<Value>, Error> {
    let mut all = vec![json!({
        "type": "special",
        "options": { "match": "null+nan", "result": { "text": NO_DATA, "color": "text", "index": 0 } },
    })];
    for (index, mapping) in mappings.iter().enumerate().rev() {
        let to = mappings.get(index + 1).map(|next| limit(&next.from)).transpose()?;
        let result = json!({ "text": mapping.text, "color": mapping.color, "index": index + 1 });
        let options = json!({ "from": limit(&mapping.from)?, "to": to, "result": result });
        all.push(json!({ "type": "range", "options": options }));
    }
    Ok(all)
}

fn number(panel: &Panel, text: &str, limits: &Limits) -> Result<f64, Error> {
    let number = text.parse().ok().or_else(|| limits.get(text));
    number.ok_or_else(|| Error::Limit { panel: panel.title.clone(), limit: text.to_owned() })
}
