//! References between the manifests, to the server and in documents: each names something that exists.

mod commands;
pub(crate) mod environment;
mod variables;

use std::collections::BTreeSet;

use mlsdm::http::metrics::contract::ALL;
use serde_json::{Map, Value};

use crate::{
    kubernetes::{Set, canary, every_set, list, title},
    path,
};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// True if labels have all those of a selector, which must not be empty.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap_or_else(|| panic!("{selector} selects nothing"));
    !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
}

/// The templates of the pods that a selector selects, with their workloads.
fn selected<'a>(set: &'a Set, selector: &Value) -> Vec<(&'a Value, &'a Value)> {
    let workloads = set.workloads();
    workloads.filter(|(_, pod)| selects(selector, &pod["metadata"]["labels"])).collect()
}

/// The named ports of the containers of pods.
fn ports<'a>(pods: &[(&'a Value, &'a Value)]) -> BTreeSet<&'a str> {
    let containers = pods.iter().flat_map(|(_, pod)| list(&pod["spec"]["containers"]));
    containers.flat_map(|one| list(&one["ports"])).map(|port| text(&port["name"])).collect()
}

/// The names of the objects of a kind.
fn names<'a>(set: &'a Set, kind: &'a str) -> BTreeSet<&'a str> {
    set.of_kind(kind).map(|object| text(&object["metadata"]["name"])).collect()
}

#[test]
fn services_select_the_pods_of_the_server_only_and_name_their_ports() {
    for set in every_set() {
        for service in set.of_kind("Service") {
            let name = format!("{}: {}", set.name, title(service));
            let pods = selected(&set, &service["spec"]["selector"]);
            let kinds: Vec<&Value> = pods.iter().map(|(workload, _)| &workload["kind"]).collect();
            assert_eq!(kinds, ["Deployment"], "{name}");
            for port in list(&service["spec"]["ports"]) {
                assert!(ports(&pods).contains(text(&port["targetPort"])), "{name}: {port}");
            }
        }
        let api = set.of_kind("Service").find(|one| one["metadata"]["name"] == "mlsdm-api-service");
        let port = &list(&api.unwrap()["spec"]["ports"])[0];
        assert_eq!(port["port"], 80, "{}", set.name);
    }
}

#[test]
fn policies_budgets_and_autoscalers_select_existing_pods() {
    for set in every_set() {
        let mut covered = BTreeSet::new();
        for policy in set.of_kind("NetworkPolicy") {
            let name = format!("{}: {}", set.name, title(policy));
            let pods = selected(&set, &policy["spec"]["podSelector"]["matchLabels"]);
            assert!(!pods.is_empty(), "{name} selects no pod");
            let rules =
                list(&policy["spec"]["ingress"]).iter().flat_map(|rule| list(&rule["ports"]));
            for port in rules {
                assert!(ports(&pods).contains(text(&port["port"])), "{name}: {port}");
            }
            for direction in list(&policy["spec"]["policyTypes"]) {
                covered.extend(pods.iter().map(|(workload, _)| (title(workload), text(direction))));
            }
        }
        for (workload, pod) in set.workloads() {
            for direction in ["Ingress", "Egress"] {
                assert!(covered.contains(&(title(workload), direction)), "{}", title(workload));
            }
            for spread in list(&pod["spec"]["topologySpreadConstraints"]) {
                let labels = &spread["labelSelector"]["matchLabels"];
                assert!(selects(labels, &pod["metadata"]["labels"]), "{}", title(workload));
            }
            if workload["kind"] == "Deployment" {
                let labels = &workload["spec"]["selector"]["matchLabels"];
                assert!(selects(labels, &pod["metadata"]["labels"]), "{}", title(workload));
            }
        }
        for budget in set.of_kind("PodDisruptionBudget") {
            let labels = &budget["spec"]["selector"]["matchLabels"];
            assert_eq!(selected(&set, labels).len(), 1, "{}", title(budget));
        }
        for kind in ["HorizontalPodAutoscaler", "ScaledObject"] {
            for scaler in set.of_kind(kind) {
                let target = text(&scaler["spec"]["scaleTargetRef"]["name"]);
                assert!(names(&set, "Deployment").contains(target), "{}", title(scaler));
            }
        }
        let scalers =
            names(&set, "HorizontalPodAutoscaler").len() + names(&set, "ScaledObject").len();
        assert!(scalers <= 1, "{}: two autoscalers would fight", set.name);
    }
}

/// The ports of Services by the name of the host in the cluster.
fn hosts(sets: &[Set]) -> BTreeSet<(String, u64)> {
    let services = sets.iter().flat_map(|set| set.of_kind("Service"));
    let ports = services.flat_map(|service| {
        let metadata = &service["metadata"];
        let (name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
        let host = format!("{name}.{namespace}.svc.cluster.local");
        let ports = list(&service["spec"]["ports"]).iter();
        ports.map(move |port| (host.clone(), port["port"].as_u64().unwrap()))
    });
    ports.collect()
}

#[test]
fn routes_lead_to_existing_services() {
    let sets = every_set();
    let (hosts, mut routes, mut backends) = (hosts(&sets), 0, 0);
    for set in &sets {
        for service in set.of_kind("VirtualService") {
            let http = list(&service["spec"]["http"]);
            let names = [&http[0]["name"], &http[1]["name"]];
            assert_eq!(names, ["by-header", "by-weight"], "deploy/canary/route changes them");
            // applying the component sends nothing to a canary that may not exist
            let weights: Vec<_> = list(&http[1]["route"]).iter().map(|to| &to["weight"]).collect();
            assert_eq!(weights, [100, 0]);
            let weighted = list(&http[1]["route"]);
            assert_eq!(http[0]["route"][0]["destination"], weighted[0]["destination"]);
            assert!(text(&weighted[1]["destination"]["host"]).contains(".mlsdm-canary."));
            for to in http.iter().flat_map(|rule| list(&rule["route"])) {
                let to = &to["destination"];
                let port = to["port"]["number"].as_u64().unwrap();
                assert!(hosts.contains(&(text(&to["host"]).to_owned(), port)), "{to}");
                routes += 1;
            }
        }
        for rule in set.of_kind("DestinationRule") {
            let host = text(&rule["spec"]["host"]);
            assert!(hosts.iter().any(|(known, _)| known == host), "{host}");
        }
        for ingress in set.of_kind("Ingress") {
            let rules = list(&ingress["spec"]["rules"]).iter();
            for to in rules.flat_map(|rule| list(&rule["http"]["paths"])) {
                let to = &to["backend"]["service"];
                let service =
                    set.of_kind("Service").find(|one| one["metadata"]["name"] == to["name"]);
                let service = service.unwrap_or_else(|| panic!("{to}"));
                let mut known = list(&service["spec"]["ports"]).iter();
                assert!(known.any(|port| port["name"] == to["port"]["name"]), "{to}");
                backends += 1;
            }
        }
    }
    assert_eq!((routes, backends), (3, 3), "of one set, and of three");
}

#[test]
fn prometheus_finds_stable_and_canary_under_the_job_of_the_rules() {
    let sets = every_set();
    let monitor = sets.iter().find_map(|set| set.of_kind("ServiceMonitor").next()).unwrap();
    let spec = &monitor["spec"];
    let namespaces = list(&spec["namespaceSelector"]["matchNames"]);
    for set in sets.iter().filter(|set| set.name != "dev") {
        let labels = |service: &&Value| {
            selects(&spec["selector"]["matchLabels"], &service["metadata"]["labels"])
        };
        let service = set.of_kind("Service").find(labels).unwrap();
        assert!(namespaces.contains(&service["metadata"]["namespace"]), "{}", set.name);
        assert_eq!(service["metadata"]["labels"][text(&spec["jobLabel"])], "mlsdm");
        let port = &list(&spec["endpoints"])[0]["port"];
        assert_eq!(&list(&service["spec"]["ports"])[0]["name"], port, "{}", set.name);
    }
    let canary = canary();
    for namespace in namespaces {
        assert!(names(&canary, "Namespace").contains(text(namespace)), "{namespace}");
    }
}

#[test]
fn probes_mounts_and_labels_of_pods_exist() {
    let api: Value =
        serde_json::from_str(&std::fs::read_to_string(path("deploy/openapi.json")).unwrap())
            .unwrap();
    let paths = api["paths"].as_object().unwrap();
    for set in every_set() {
        for (workload, pod) in set.workloads() {
            let name = format!("{}: {}", set.name, title(workload));
            let volumes = list(&pod["spec"]["volumes"]);
            for container in list(&pod["spec"]["containers"]) {
                probes(container, paths, &name, workload["kind"] == "Deployment");
                for mount in list(&container["volumeMounts"]) {
                    assert!(volumes.iter().any(|one| one["name"] == mount["name"]), "{mount}");
                }
                for field in list(&container["env"]).iter().map(|one| &one["valueFrom"]["fieldRef"])
                {
                    let Some(field) = field["fieldPath"].as_str() else { continue };
                    let label = field.strip_prefix("metadata.labels['").unwrap();
                    let label = label.strip_suffix("']").unwrap();
                    assert!(pod["metadata"]["labels"][label].is_string(), "{name}: {field}");
                }
            }
            for claim in volumes.iter().map(|one| &one["persistentVolumeClaim"]["claimName"]) {
                let Some(claim) = claim.as_str() else { continue };
                assert!(names(&set, "PersistentVolumeClaim").contains(claim), "{name}: {claim}");
            }
        }
    }
}

fn probes(container: &Value, paths: &Map<String, Value>, name: &str, is_server: bool) {
    let mut own = list(&container["ports"]).iter().map(|port| &port["name"]);
    let kinds = ["startupProbe", "livenessProbe", "readinessProbe"];
    let probes = kinds.iter().filter_map(|kind| container.get(kind)).collect::<Vec<_>>();
    assert_eq!(probes.len(), if is_server { 3 } else { 0 }, "{name}");
    for probe in probes.into_iter().map(|probe| &probe["httpGet"]) {
        assert!(paths.contains_key(text(&probe["path"])), "{name}: {probe}");
        assert!(own.clone().any(|port| *port == probe["port"]), "{name}: {probe}");
    }
    assert!(!is_server || own.any(|port| port == "metrics"), "{name}");
}

#[test]
fn the_query_of_the_autoscaler_names_existing_metrics() {
    let sets = every_set();
    let mut queries = 0;
    for scaler in sets.iter().flat_map(|set| set.of_kind("ScaledObject")) {
        for trigger in list(&scaler["spec"]["triggers"]) {
            let Some(query) = trigger["metadata"]["query"].as_str() else { continue };
            promql_parser::parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let own = query.split(|c| !is_name(c)).filter(|word| word.starts_with("mlsdm_"));
            for name in own {
                let base =
                    ["_sum", "_count", "_bucket"].iter().find_map(|end| name.strip_suffix(end));
                let base = base.unwrap_or(name);
                assert!(ALL.iter().any(|spec| spec.name == base), "{name}");
                queries += 1;
            }
        }
    }
    assert!(queries > 0);
}
