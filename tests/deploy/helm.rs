//! The Helm chart gives the objects of the overlays.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use crate::{
    kubernetes::{OVERLAYS, exit_of, objects, overlay, run, title},
    path,
};

const CHART: &str = "deploy/helm/mlsdm";

fn helm() -> PathBuf {
    path("target/ci/deploy/helm-v4.3.1/helm")
}

/// Objects by kind and name. `helm install --create-namespace` makes the namespace.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let objects = objects.into_iter().filter(|object| object["kind"] != "Namespace");
    objects.map(|object| (title(&object), object)).collect()
}

#[test]
fn the_chart_gives_the_objects_of_each_overlay() {
    for name in OVERLAYS {
        let expected = by_name(overlay(name).objects);
        let namespace = if name == "dev" { "mlsdm-dev" } else { "mlsdm-production" };
        let values = format!("{CHART}/values-{name}.yaml");
        let mut arguments = vec!["template", "mlsdm", CHART, "--namespace", namespace];
        // the values of the chart are those of production
        if name != "production" {
            arguments.extend(["--values", &values]);
        }
        let rendered = by_name(objects(&only_yaml(&run(&helm(), &arguments, ""))));
        assert_eq!(
            expected.keys().collect::<Vec<_>>(),
            rendered.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (title, object) in &expected {
            assert_eq!(object, &rendered[title], "{name}: {title}");
        }
    }
}

/// The output without the log lines of helm.
fn only_yaml(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with("level="))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// `helm install` needs a cluster; `helm template` takes the same arguments.
#[test]
fn the_helm_commands_of_the_documents_render_the_chart() {
    let mut commands = 0;
    for document in ["deploy/k8s/README.md", "deploy/GUIDE.md"] {
        let text = std::fs::read_to_string(path(document)).unwrap().replace("\\\n", " ");
        for line in text.lines().filter_map(|line| line.strip_prefix("helm ")) {
            let words = line.split_whitespace().skip_while(|word| *word != "mlsdm");
            let arguments: Vec<&str> = ["template"].into_iter().chain(words).collect();
            assert!(run(&helm(), &arguments, "").contains("kind: Deployment"), "{line}");
            commands += 1;
        }
    }
    assert!(commands > 0);
}

#[test]
fn the_chart_has_no_findings_and_no_dependencies() {
    run(&helm(), &["lint", CHART, "--strict"], "");
    let chart = std::fs::read_to_string(path(CHART).join("Chart.yaml")).unwrap();
    assert!(!chart.contains("dependencies"), "{chart}");
    for version in ["version", "appVersion"] {
        let line = format!("\n{version}: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(chart.contains(&line), "{line}");
    }
}

#[test]
fn the_chart_refuses_unknown_values_and_secrets_in_the_configuration() {
    let wrong =
        ["replica=2", "config.API_KEY=0123456789abcdef", "config.mlsdm=1", "existingSecret="];
    for value in wrong {
        let arguments = ["template", "mlsdm", CHART, "--set-string", value];
        let (code, text) = exit_of(&helm(), &arguments, "");
        assert!(code != 0 && text.contains("values don't meet"), "{value}: {text}");
    }
}
