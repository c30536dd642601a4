//! The manifests of Kubernetes: valid for its schemas, with the settings that a server in a cluster needs.

use std::{fs, path::Path};

use mlsdm::config::{Config, Sources};
use serde_json::{Value, json};

use crate::{
    kubernetes::{Set, canary, every_set, list, objects, overlay, program, run, title},
    path,
};

/// The newest Kubernetes that the validator knows, and the oldest that is supported.
const VERSIONS: [&str; 2] = ["1.37", "1.27"];

#[test]
fn every_object_is_valid_for_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    for set in every_set() {
        let file = folder.path().join(format!("{}.yaml", set.name));
        fs::write(&file, &set.text).unwrap();
    }
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    for version in VERSIONS {
        let mut arguments = vec!["--strict", "--quiet", "--no-warn", "-k", version];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        let text = run(&program("kubernetes-validate"), &arguments, "");
        assert!(!text.contains("ERROR"), "{version}: {text}");
    }
}

/// Runs the validator of custom resources; gives its findings.
fn findings(resources: &[&Value]) -> String {
    let script = path("tests/deploy/custom-resources.mjs");
    let folder = path("target/ci/deploy/node");
    let line = format!("cd '{}' && exec node '{}'", folder.display(), script.display());
    run(Path::new("sh"), &["-c", &line], &json!(resources).to_string())
}

#[test]
fn every_custom_resource_matches_its_definition() {
    let sets = every_set();
    let of = |set: &'_ Set| -> Vec<Value> { set.objects.clone() };
    let all: Vec<Value> = sets.iter().flat_map(of).collect();
    let is_custom = |object: &&Value| {
        let version = object["apiVersion"].as_str().unwrap();
        let group = version.split('/').next().unwrap();
        group.contains('.') && !group.ends_with(".k8s.io")
    };
    let custom: Vec<&Value> = all.iter().filter(is_custom).collect();
    let kinds = [
        "AnalysisTemplate",
        "DestinationRule",
        "ExternalSecret",
        "PrometheusRule",
        "ScaledObject",
        "ServiceMonitor",
        "VirtualService",
    ];
    for kind in kinds {
        assert!(custom.iter().any(|object| object["kind"] == kind), "{kind}");
    }
    assert_eq!(findings(&custom), "");
    let mut wrong = (*custom.iter().find(|one| one["kind"] == "VirtualService").unwrap()).clone();
    wrong["spec"]["http"][1]["route"][0]["weight"] = json!("ninety");
    assert!(findings(&[&wrong]).contains("weight must be integer"));
}

#[test]
fn the_rules_of_the_operator_are_those_of_prometheus() {
    let production = overlay("production");
    let mut rules = list(&production.only("PrometheusRule")["spec"]["groups"]).to_vec();
    let folder = path("deploy/monitoring/prometheus/rules");
    let mut expected = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        expected.extend(list(&objects(&text)[0]["groups"]).to_vec());
    }
    for groups in [&mut rules, &mut expected] {
        groups.sort_by_key(|group| group["name"].to_string());
    }
    assert_eq!(rules, expected);
}

/// The containers of a pod.
fn containers(template: &Value) -> &[Value] {
    list(&template["spec"]["containers"])
}

#[test]
fn every_pod_is_restricted_and_gets_no_foreign_variables() {
    for set in every_set() {
        for (workload, template) in set.workloads() {
            let (name, pod) = (format!("{}: {}", set.name, title(workload)), &template["spec"]);
            assert_eq!(pod["enableServiceLinks"], false, "{name}");
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert!(pod["securityContext"].get("runAsUser").is_none(), "{name}: OpenShift chooses");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            for container in containers(template) {
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
                for kind in ["requests", "limits"] {
                    for resource in ["cpu", "memory"] {
                        assert!(container["resources"][kind][resource].is_string(), "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_deployment_is_that_of_the_deployment_guide() {
    let production = overlay("production");
    let deployment = production.only("Deployment");
    assert_eq!(deployment["metadata"]["name"], "mlsdm-api");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let container = &containers(&deployment["spec"]["template"])[0];
    assert_eq!(container["name"], "mlsdm-api");
    let resources = json!({
        "requests": {"memory": "512Mi", "cpu": "500m"}, "limits": {"memory": "1Gi", "cpu": "2000m"}
    });
    assert_eq!(container["resources"], resources);
    for (probe, delay, period) in [("livenessProbe", 30, 10), ("readinessProbe", 5, 5)] {
        assert_eq!(container[probe]["initialDelaySeconds"], delay, "{probe}");
        assert_eq!(container[probe]["periodSeconds"], period, "{probe}");
    }
    let hpa = &production.only("HorizontalPodAutoscaler")["spec"];
    assert_eq!((&hpa["minReplicas"], &hpa["maxReplicas"]), (&json!(3), &json!(10)));
    let strategy = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(strategy["maxUnavailable"], 0, "a rollout never has fewer pods");
    let large = overlay("high-capacity");
    let requests = &containers(&large.only("Deployment")["spec"]["template"])[0]["resources"];
    assert_eq!(requests["requests"], json!({"memory": "2Gi", "cpu": "4000m"}));
    assert_eq!(large.only("ConfigMap")["data"]["MLSDM_CAPACITY"], "50000");
}

#[test]
fn every_image_label_and_job_name_has_the_version_of_the_server() {
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("ghcr.io/neuron7x/mlsdm-neuro-engine:{version}");
    for set in every_set() {
        for (workload, template) in set.workloads() {
            let name = format!("{}: {}", set.name, title(workload));
            for labels in [&workload["metadata"]["labels"], &template["metadata"]["labels"]] {
                assert_eq!(labels["version"], format!("v{version}"), "{name}");
            }
            assert!(containers(template).iter().all(|one| one["image"] == image), "{name}");
            if workload["kind"] == "Job" {
                let suffix = format!("-v{}", version.replace('.', "-"));
                assert!(title(workload).trim_end_matches('"').ends_with(&suffix), "{name}");
            }
        }
    }
}

/// The configuration of a server with the variables of a `ConfigMap`.
fn configuration(set: &Set) -> Config {
    let data = set.only("ConfigMap")["data"].as_object().unwrap().clone();
    let mut env: Vec<_> = data
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    for name in ["API_KEY", "OPENAI_API_KEY"] {
        env.push((name.to_owned(), "0123456789abcdef0123456789abcdef".to_owned()));
    }
    let sources = Sources { file: None, dir: "/nonexistent".into(), env, flags: Vec::new() };
    Config::load(sources).unwrap_or_else(|error| panic!("{}: {error}", set.name)).config
}

/// The time to stop: drain, answers and the step that is recorded last, background work, spans, log lines.
#[test]
fn a_pod_has_the_time_that_its_server_needs_to_stop() {
    // the margins in src/http/server.rs, src/telemetry/traces/queue.rs, logs.rs and loki.rs
    const MARGINS: u64 = 5 + 1 + 2 + 2 + 5 + 4 + 1 + 2;
    for set in every_set() {
        let config = configuration(&set);
        let drain = config.api.drain().as_secs();
        assert!(drain >= 5, "{}: a proxy needs time to remove the address of a pod", set.name);
        let needed =
            drain + (config.llm.drain_timeout() + config.api.timeout()).as_secs() + MARGINS;
        for deployment in set.of_kind("Deployment") {
            let pod = &deployment["spec"]["template"]["spec"];
            let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
            assert!(grace >= needed, "{}: {grace} s of {needed} s", set.name);
            let container = &list(&pod["containers"])[0];
            assert!(container.get("lifecycle").is_none(), "the image has no shell for a hook");
        }
    }
}

/// The memory of a container suffices for its engines, request bodies and the server itself.
#[test]
fn the_engines_of_a_pod_fit_into_its_memory() {
    for set in every_set() {
        let config = configuration(&set);
        for deployment in set.of_kind("Deployment") {
            let container = &containers(&deployment["spec"]["template"])[0];
            let limit = container["resources"]["limits"]["memory"].as_str().unwrap();
            let limit = limit.strip_suffix("Gi").unwrap().parse::<u64>().unwrap() << 30;
            // freed memory of bodies is kept for a while: three times limits.inflight_bytes
            let bodies = 3 * u64::try_from(config.limits.inflight_bytes).unwrap();
            let needed = config.engine.memory_budget_bytes() + bodies + (128 << 20);
            assert!(needed <= limit, "{}: {needed} of {limit} bytes", set.name);
        }
    }
}

/// Engines stay in memory until the budget is used, so more pods would not lower the use of each.
#[test]
fn pods_with_full_engines_use_less_memory_than_makes_the_autoscaler_add_pods() {
    let mut checked = 0;
    for set in every_set() {
        let metrics = set.of_kind("HorizontalPodAutoscaler");
        let metrics = metrics.flat_map(|scaler| list(&scaler["spec"]["metrics"]));
        let Some(memory) = metrics.map(|one| &one["resource"]).find(|one| one["name"] == "memory")
        else {
            continue;
        };
        let target = memory["target"]["averageUtilization"].as_u64().unwrap();
        let container = &containers(&set.only("Deployment")["spec"]["template"])[0];
        let request = container["resources"]["requests"]["memory"].as_str().unwrap();
        let request = match request.strip_suffix("Gi") {
            Some(number) => number.parse::<u64>().unwrap() << 10,
            None => request.strip_suffix("Mi").unwrap().parse().unwrap(),
        };
        let budget = configuration(&set).engine.memory_budget_bytes() >> 20;
        let percent = budget * 100 / request;
        assert!(percent + 15 <= target, "{}: {percent} % of the request", set.name);
        checked += 1;
    }
    assert_eq!(checked, 2, "production and high-capacity; KEDA replaces the autoscaler");
}

#[test]
fn the_canary_differs_from_production_in_its_track_and_size_only() {
    let (canary, production) = (canary(), overlay("production"));
    assert_eq!(canary.only("ConfigMap")["data"], production.only("ConfigMap")["data"]);
    let template = |set: &Set| {
        let mut template = set.only("Deployment")["spec"]["template"].clone();
        template["metadata"]["labels"]["track"].take();
        template["spec"].as_object_mut().unwrap().remove("topologySpreadConstraints");
        template
    };
    assert_eq!(template(&canary), template(&production));
    for set in [&canary, &production] {
        let track = if set.name == "canary" { "canary" } else { "stable" };
        let labels = &set.only("Deployment")["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["track"], track);
    }
    for object in canary.objects.iter().filter(|object| object["kind"] != "Namespace") {
        assert_eq!(object["metadata"]["namespace"], "mlsdm-canary", "{}", title(object));
    }
}
