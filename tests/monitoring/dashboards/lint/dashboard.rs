//! Rules for the dashboard as a whole.

use serde_json::Value;

use super::{
    super::{promql, world::Board},
    Subject, list, string, unless,
};

/// There is one data source, in a variable with the conventional name.
pub(super) fn datasource(of: &Subject<'_>) -> Vec<String> {
    let all = of.variables().iter();
    let sources: Vec<_> = all.filter(|variable| variable["type"] == "datasource").collect();
    let [one] = sources.as_slice() else { return vec!["not one variable of a data source".into()] };
    unless(
        one["name"] == "datasource"
            && one["label"] == "Data source"
            && ["prometheus", "loki"].contains(&string(&one["query"])),
        format!("{} is not `datasource`, `Data source`", one["name"]),
    )
}

pub(super) fn job(of: &Subject<'_>) -> Vec<String> {
    selection(of, "job", "Job", "mlsdm.*")
}

pub(super) fn instance(of: &Subject<'_>) -> Vec<String> {
    selection(of, "instance", "Instance", ".+")
}

/// A variable selects processes and defaults to all of them. "All jobs" is not `.+` as in the
/// original rule, since Prometheus itself exports `up` and `process_cpu_seconds_total` too.
fn selection(of: &Subject<'_>, name: &str, label: &str, every: &str) -> Vec<String> {
    if of.asks() != "prometheus" {
        return Vec::new();
    }
    let Some(variable) = of.variable(name) else { return vec![format!("no variable {name}")] };
    unless(
        variable["type"] == "query"
            && variable["datasource"]["uid"] == "$datasource"
            && variable["label"] == label
            && variable["multi"] == true
            && variable["includeAll"] == true
            && variable["allValue"] == every,
        format!("{name} is not a query of $datasource, `{label}`, multi, all `{every}`"),
    )
}

/// `label_values(selector, label)` has a valid selector of an existing series.
pub(super) fn label_values(of: &Subject<'_>) -> Vec<String> {
    if of.asks() != "prometheus" {
        return Vec::new();
    }
    let queries = of.variables().iter().filter(|variable| variable["type"] == "query");
    let wrong = queries.filter(|variable| {
        let query = string(&variable["query"]["query"]);
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let selector =
            inner.and_then(|inner| inner.rsplit_once(", ")).map(|(selector, _)| selector);
        let parsed = selector.and_then(|selector| promql::parse(selector).ok());
        let known = |name: &str| of.world.series.contains_key(name);
        !parsed.is_some_and(|parsed| promql::selectors(&parsed).iter().all(|s| known(s.name())))
    });
    wrong.map(|variable| format!("{}: {}", variable["name"], variable["query"])).collect()
}

/// The values of variables are reloaded when the time range changes, to include past processes.
pub(super) fn reload(of: &Subject<'_>) -> Vec<String> {
    let queries = of.variables().iter().filter(|variable| variable["type"] == "query");
    let wrong = queries.filter(|variable| variable["refresh"] != 2);
    wrong.map(|variable| format!("{}", variable["name"])).collect()
}

/// Dashboards are changed in their source and not in Grafana.
pub(super) fn uneditable(of: &Subject<'_>) -> Vec<String> {
    unless(of.json["editable"] == false, "editable")
}

pub(super) fn uid(of: &Subject<'_>) -> Vec<String> {
    let uid = string(&of.json["uid"]);
    unless(uid == format!("mlsdm-{}", of.name), format!("uid {uid:?}"))
}

pub(super) fn time(of: &Subject<'_>) -> Vec<String> {
    let (from, to) = (string(&of.json["time"]["from"]), string(&of.json["time"]["to"]));
    let refresh = string(&of.json["refresh"]);
    let holds = from.starts_with("now-") && to == "now" && !refresh.is_empty();
    unless(holds, format!("from {from:?} to {to:?}, every {refresh:?}"))
}

/// Provisioned dashboards have no inputs to fill in by hand.
pub(super) fn inputs(of: &Subject<'_>) -> Vec<String> {
    let text = of.json.to_string();
    let holds = of.json.get("__inputs").is_none() && !text.contains("${DS_");
    unless(holds, "inputs of an export")
}

/// The dashboard links to all others by their tags, and its panels link to existing dashboards.
pub(super) fn links(of: &Subject<'_>) -> Vec<String> {
    let boards = of.world.boards.iter();
    let alone = boards.filter(|(_, board)| !by_tags(of).any(|link| leads(link, board)));
    let alone = alone.map(|(uid, _)| format!("no links to {uid}"));
    let gone = by_panels(of).filter(|(_, url)| board(of, url).is_none());
    alone.chain(gone.map(|(title, url)| format!("{title}: {url}"))).collect()
}

/// Links pass variables to dashboards with the same type of data source, since others have
/// different values under the same name. Links always pass the time range.
pub(super) fn carried(of: &Subject<'_>) -> Vec<String> {
    let other = |board: &Board| board.asks != of.asks();
    let by_tags = by_tags(of).filter(|link| {
        let mut led = of.world.boards.values().filter(|board| leads(link, board));
        link["keepTime"] != true || (link["includeVars"] == true && led.any(other))
    });
    let by_panels = by_panels(of).filter(|(_, url)| {
        let carries = url.contains("__all_variables") || url.contains("var-");
        !url.contains("__url_time_range") || (carries && board(of, url).is_some_and(other))
    });
    let by_tags = by_tags.map(|link| format!("{}: {}", link["title"], link["tags"]));
    by_tags.chain(by_panels.map(|(title, url)| format!("{title}: {url}"))).collect()
}

/// The links to all dashboards with given tags.
fn by_tags<'d>(of: &Subject<'d>) -> impl Iterator<Item = &'d Value> {
    list(&of.json["links"]).iter().filter(|link| link["type"] == "dashboards")
}

fn leads(link: &Value, board: &Board) -> bool {
    let tags = list(&link["tags"]);
    !tags.is_empty() && tags.iter().all(|tag| board.tags.contains(tag))
}

/// The links of panels: the title of the panel and the URL.
fn by_panels<'d>(of: &Subject<'d>) -> impl Iterator<Item = (&'d str, &'d str)> {
    of.panels().iter().flat_map(|panel| {
        list(&panel["links"])
            .iter()
            .map(move |link| (string(&panel["title"]), string(&link["url"])))
    })
}

/// The dashboard with this URL.
fn board<'w>(of: &Subject<'w>, url: &str) -> Option<&'w Board> {
    let uid = url.strip_prefix("/d/")?.split(['?', '/']).next()?;
    of.world.boards.get(uid)
}

/// Queries use only variables of the dashboard and built-in ones.
pub(super) fn variables(of: &Subject<'_>) -> Vec<String> {
    let mut unknown = Vec::new();
    for (title, _, query) in of.queries() {
        for part in string(&query["expr"]).split('$').skip(1) {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = &part[..part.find(|c| !is_name(c)).unwrap_or(part.len())];
            if !name.starts_with("__") && of.variable(name).is_none() {
                unknown.push(format!("{title}: ${name}"));
            }
        }
    }
    unknown
}
