//! The variables of the manifests: the server accepts each, and its Secrets and `ConfigMaps` exist.

use std::collections::BTreeMap;

use mlsdm::{
    config::{Config, Sources},
    testkit::{CONTENT_KEY, TestDatabase, TestEnv, run_mlsdm},
};
use serde_json::Value;

use super::{names, text};
use crate::{
    kubernetes::{Set, every_set, list, title},
    path,
};

/// A value for a key of the Secret.
pub(crate) fn secret(key: &str) -> String {
    match key {
        "content-key" => CONTENT_KEY.to_owned(),
        key if key.ends_with("url") => "postgres://mlsdm:secret@db/mlsdm".to_owned(),
        key => format!("the-secret-of-{key}"),
    }
}

/// The variables of a container as its pod gets them, with the references to Secrets resolved.
pub(crate) fn variables(set: &Set, pod: &Value, container: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for from in list(&container["envFrom"]) {
        let name = text(&from["configMapRef"]["name"]);
        assert!(names(set, "ConfigMap").contains(name), "{}: no ConfigMap {name}", set.name);
        let data = set.only("ConfigMap")["data"].as_object().unwrap();
        all.extend(data.iter().map(|(name, value)| (name.clone(), text(value).to_owned())));
    }
    for variable in list(&container["env"]) {
        let from = &variable["valueFrom"];
        let value = if let Some(value) = variable["value"].as_str() {
            value.to_owned()
        } else if let Some(key) = from["secretKeyRef"]["key"].as_str() {
            assert_eq!(from["secretKeyRef"]["name"], "mlsdm-secrets", "{}", set.name);
            secret(key)
        } else {
            let label = text(&from["fieldRef"]["fieldPath"]);
            let label = label.trim_start_matches("metadata.labels['").trim_end_matches("']");
            text(&pod["metadata"]["labels"][label]).to_owned()
        };
        all.insert(text(&variable["name"]).to_owned(), value);
    }
    all
}

/// Each container with its variables.
fn containers(set: &Set) -> Vec<(String, BTreeMap<String, String>, &Value)> {
    let pods = set.workloads().flat_map(|(workload, pod)| {
        let name = format!("{}: {}", set.name, title(workload));
        let containers = list(&pod["spec"]["containers"]).iter();
        containers.map(move |one| (name.clone(), variables(set, pod, one), one))
    });
    pods.collect()
}

/// The variables that the plain image sets, which is the first stage with variables.
fn of_the_image() -> BTreeMap<String, String> {
    let file = path("deploy/docker/Dockerfile.neuro-engine-service");
    let text = std::fs::read_to_string(file).unwrap().replace("\\\n", " ");
    let line = text.lines().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    let pairs = line.split_whitespace().filter_map(|pair| pair.split_once('='));
    let all: BTreeMap<_, _> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(all.contains_key("API_HOST"), "{all:?}");
    all
}

#[test]
fn every_variable_sets_a_key_of_the_server() {
    for set in every_set() {
        for (name, variables, _) in containers(&set) {
            let mut all = of_the_image();
            all.extend(variables.clone());
            let env: Vec<_> = all.into_iter().collect();
            let sources =
                Sources { file: None, dir: "/nonexistent".into(), env, flags: Vec::new() };
            let loaded = Config::load(sources).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(loaded.warnings, Vec::<String>::new(), "{name}");
            let sources: Vec<String> =
                loaded.settings.iter().map(|one| one.source.to_string()).collect();
            for variable in variables.keys() {
                let is_used = sources.contains(&format!("env {variable}"));
                assert!(is_used, "{name}: {variable} sets nothing");
            }
        }
    }
}

#[test]
fn the_commands_of_containers_exist() {
    for set in every_set() {
        for (name, _, container) in containers(&set) {
            assert!(container.get("command").is_none(), "{name}: the image has its entry point");
            let arguments: Vec<&str> = list(&container["args"]).iter().map(text).collect();
            if !arguments.is_empty() {
                let help = run_mlsdm("", &[&arguments[..], &["--help"]].concat(), &[]).exits(0);
                assert!(help.stdout.contains(&arguments.join(" ")), "{name}: {}", help.stdout);
            }
        }
    }
}

/// The server starts with the variables of each Deployment, on another database and other ports.
#[tokio::test]
async fn the_server_is_ready_with_the_variables_of_each_deployment() {
    for set in every_set() {
        let pod = &set.only("Deployment")["spec"]["template"];
        let variables = variables(&set, pod, &list(&pod["spec"]["containers"])[0]);
        let database = TestDatabase::sqlite();
        let mut env = TestEnv::new(database.url()).without("MLSDM__AUTH__MODE");
        for (name, value) in &variables {
            if !["DATABASE_URL", "METRICS_PORT"].contains(&name.as_str()) {
                env = env.with(name, value);
            }
        }
        env.serve().await.kill().await;
    }
}

#[test]
fn the_documents_and_the_example_name_every_key_of_the_secret() {
    let readme = std::fs::read_to_string(path("deploy/k8s/README.md")).unwrap();
    let sets = every_set();
    let external = sets.iter().find_map(|set| set.of_kind("ExternalSecret").next()).unwrap();
    let external: Vec<&str> =
        list(&external["spec"]["data"]).iter().map(|one| text(&one["secretKey"])).collect();
    let mut keys = 0;
    for set in &sets {
        let section = if set.name == "dev" { "## Try it" } else { "## Production" };
        let section = readme.split(section).nth(1).unwrap().split("\n## ").next().unwrap();
        for (name, _, container) in containers(set) {
            for from in list(&container["env"]).iter().map(|one| &one["valueFrom"]["secretKeyRef"])
            {
                if from.is_null() || from["optional"] == true {
                    continue;
                }
                let key = text(&from["key"]);
                let literal = format!("--from-literal={key}=");
                assert!(section.contains(&literal), "{name}: {literal} in the README");
                assert!(external.contains(&key), "{name}: {key} in the ExternalSecret");
                keys += 1;
            }
        }
    }
    assert!(keys > 10, "{keys}");
}
