//! The kubectl commands in documents, alerts and scripts name existing objects.

use std::fs;

use serde_json::Value;

use super::text;
use crate::{
    kubernetes::{Set, every_set, list},
    path,
};

const FILES: [&str; 8] = [
    "deploy/k8s/README.md",
    "deploy/GUIDE.md",
    "deploy/RUNBOOK.md",
    "deploy/OPERATIONS.md",
    "deploy/canary/promote",
    "deploy/canary/rollback",
    "deploy/canary/route",
    "deploy/k8s/canary-deployment.yaml",
];

/// The lines of a file that have a kubectl command, with continued lines joined.
fn commands(file: &str) -> Vec<String> {
    let Ok(text) = fs::read_to_string(path(file)) else { return Vec::new() };
    let text = text.replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| {
        let command = &line[line.find("kubectl ")?..];
        Some(command.split(['`', '|', ';']).next()?.to_owned())
    });
    lines.collect()
}

/// The value after an option.
fn after<'a>(words: &[&'a str], option: &str) -> Option<&'a str> {
    let place = words.iter().position(|word| *word == option)?;
    words.get(place + 1).copied()
}

fn check(command: &str, sets: &[Set]) -> usize {
    let words: Vec<&str> = command.split_whitespace().collect();
    let objects: Vec<&Value> = sets.iter().flat_map(|set| &set.objects).collect();
    let mut checked = 0;
    if let Some(namespace) = after(&words, "-n") {
        let known = |object: &&Value| object["metadata"]["namespace"] == namespace;
        assert!(objects.iter().any(known), "{command}: no object in the namespace {namespace}");
        checked += 1;
    }
    if let Some((name, value)) = after(&words, "-l").and_then(|label| label.split_once('=')) {
        let mut pods =
            objects.iter().map(|object| &object["spec"]["template"]["metadata"]["labels"]);
        assert!(pods.any(|labels| labels[name] == value), "{command}: no pod has {name}={value}");
        checked += 1;
    }
    for option in ["-f", "-k"] {
        if let Some(file) = after(&words, option).filter(|file| file.starts_with("deploy/")) {
            assert!(path(file).exists(), "{command}: {file} does not exist");
            checked += 1;
        }
    }
    for (kind, name) in words.iter().filter_map(|word| word.split_once('/')) {
        let kinds = ["deployment", "service", "virtualservice", "job"];
        if kinds.contains(&kind) {
            let is_named = |object: &&Value| {
                text(&object["kind"]).to_lowercase() == kind && object["metadata"]["name"] == name
            };
            assert!(objects.iter().any(is_named), "{command}: no {kind} {name}");
            checked += 1;
        }
    }
    if let Some((container, _)) = words.iter().find_map(|word| word.split_once("=registry/")) {
        let mut pods = objects.iter().map(|object| &object["spec"]["template"]["spec"]);
        assert!(pods.any(|pod| list(&pod["containers"])[0]["name"] == container), "{command}");
    }
    checked
}

#[test]
fn every_kubectl_command_names_existing_objects() {
    let sets = every_set();
    let mut checked = 0;
    for file in FILES {
        checked += commands(file).iter().map(|command| check(command, &sets)).sum::<usize>();
    }
    assert!(checked > 30, "{checked}");
}
