//! References between Grafana, Tempo, dashboards and rules.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::files;

const DATASOURCES: &str = "deploy/monitoring/grafana/provisioning/datasources/mlsdm.yaml";
const DASHBOARDS: &str = "deploy/monitoring/grafana/provisioning/dashboards/mlsdm.yaml";

fn sources() -> Vec<Value> {
    files::yaml(DATASOURCES)["datasources"].as_array().unwrap().clone()
}

fn uids() -> BTreeSet<String> {
    sources().iter().map(|source| source["uid"].as_str().unwrap().to_owned()).collect()
}

/// The values of a key at any depth.
fn all_of(value: &Value, key: &str) -> Vec<String> {
    match value {
        Value::Object(map) => {
            let own = map.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
            own.into_iter().chain(map.values().flat_map(|value| all_of(value, key))).collect()
        }
        Value::Array(all) => all.iter().flat_map(|value| all_of(value, key)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[test]
fn data_sources_have_fixed_ids_and_link_to_each_other() {
    let known: BTreeSet<String> = ["loki", "prometheus", "tempo"].map(ToOwned::to_owned).into();
    assert_eq!(uids(), known);
    let named = all_of(&files::yaml(DATASOURCES), "datasourceUid");
    assert!(named.iter().all(|uid| known.contains(uid)), "{named:?}");
    let of = |uid: &str| sources().into_iter().find(|source| source["uid"] == uid).unwrap();
    let exemplars = &of("prometheus")["jsonData"]["exemplarTraceIdDestinations"][0];
    assert_eq!(exemplars["datasourceUid"], "tempo");
    assert_eq!(exemplars["name"], "trace_id");
    let fields = of("loki")["jsonData"]["derivedFields"].clone();
    for field in fields.as_array().unwrap() {
        assert_eq!(field["datasourceUid"], "tempo");
        assert!(field["matcherRegex"].as_str().unwrap().contains("trace_id"), "{field}");
    }
    assert!(sources().iter().all(|source| source["editable"] == false));
}

#[test]
fn data_sources_are_services_of_the_stack() {
    let compose = files::yaml("deploy/compose.yaml");
    for source in sources() {
        let url = source["url"].as_str().unwrap();
        let host = url.strip_prefix("http://").unwrap().split(':').next().unwrap();
        assert!(compose["services"].get(host).is_some(), "{url}");
    }
}

#[test]
fn dashboards_use_types_of_data_sources_that_exist() {
    let kinds: BTreeSet<String> =
        sources().iter().map(|source| source["type"].as_str().unwrap().to_owned()).collect();
    for name in files::names("dashboards", "json") {
        let dashboard: Value =
            serde_json::from_str(&files::text(&format!("dashboards/{name}.json"))).unwrap();
        let variable = &dashboard["templating"]["list"][0];
        assert_eq!(variable["type"], "datasource", "{name}");
        assert!(kinds.contains(variable["query"].as_str().unwrap()), "{name}");
    }
}

#[test]
fn grafana_loads_dashboards_from_the_mounted_folder() {
    let path = &files::yaml(DASHBOARDS)["providers"][0]["options"]["path"];
    let path = path.as_str().unwrap();
    let grafana = &files::yaml("deploy/compose.yaml")["services"]["grafana"];
    let mounts = grafana["volumes"].as_array().unwrap();
    assert!(mounts.iter().any(|mount| *mount == format!("../dashboards:{path}:ro")), "{mounts:?}");
    let home = grafana["environment"].as_object().unwrap().iter();
    let mut home = home
        .filter(|(name, _)| name.eq_ignore_ascii_case("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"));
    let (_, home) = home.next().unwrap();
    let file = home.as_str().unwrap().strip_prefix(path).unwrap();
    assert!(files::path(&format!("dashboards{file}")).exists(), "{file}");
}

/// The dashboard of each alert exists.
#[test]
fn alerts_link_to_existing_dashboards() {
    let known: BTreeSet<String> =
        files::names("dashboards", "json").iter().map(|name| format!("mlsdm-{name}")).collect();
    let mut led = 0;
    for file in files::below("deploy/monitoring", ".yaml") {
        for url in all_of(&files::yaml(&file), "dashboard_url") {
            let uid = url.split_once("/d/").map(|(_, uid)| uid.split(['?', '/']).next().unwrap());
            assert!(uid.is_some_and(|uid| known.contains(uid)), "{file}: {url}");
            led += 1;
        }
    }
    assert!(led > 0, "no alert has a dashboard");
}

/// The panel that a runbook names is on the dashboard of its alert.
#[test]
fn runbooks_name_existing_panels() {
    let components = files::yaml("alerts/components.yaml");
    let alerts = components["alerts"].as_array().unwrap();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let dashboard = alert["dashboard"].as_str().unwrap().strip_prefix("mlsdm-").unwrap();
        let dashboard: Value =
            serde_json::from_str(&files::text(&format!("dashboards/{dashboard}.json"))).unwrap();
        let panels = dashboard["panels"].as_array().unwrap().iter();
        let mut titles = panels.map(|panel| panel["title"].as_str().unwrap());
        let named = alert["runbook"]["panel"].as_str().unwrap();
        let there = titles.any(|title| title.eq_ignore_ascii_case(named));
        assert!(there, "{}: {named:?} is not on {}", alert["alert"], dashboard["uid"]);
    }
}

#[test]
fn tempo_receives_traces_deletes_them_and_reports_no_usage() {
    let tempo = files::yaml("deploy/monitoring/tempo/tempo.yaml");
    assert_eq!(tempo["usage_report"]["reporting_enabled"], false);
    assert_eq!(tempo["compactor"]["compaction"]["block_retention"], "168h");
    let receivers = &tempo["distributor"]["receivers"]["otlp"]["protocols"];
    assert_eq!(receivers["http"]["endpoint"], "0.0.0.0:4318");
    let mounted = "tempo:/var/tempo";
    let volumes = files::yaml("deploy/compose.yaml")["services"]["tempo"]["volumes"].clone();
    assert!(volumes.as_array().unwrap().iter().any(|volume| volume == mounted));
    for place in ["local", "wal"] {
        let path = tempo["storage"]["trace"][place]["path"].as_str().unwrap();
        assert!(path.starts_with("/var/tempo/"), "{path} is not in the volume");
    }
}
