//! Layers of top-level modules: each imports from layers below its own only.

use std::collections::BTreeSet;

use crate::crate_graph::imports;

/// The layers, the highest first. Modules of one layer do not import each other.
const LAYERS: [&[&str]; 9] = [
    &["lib"],
    &["cli"],
    &["startup", "standalone"],
    &["http"],
    &["engine", "auth"],
    &["store", "llm", "embed", "score"],
    &["telemetry", "rates", "tls"],
    &[
        "config",
        "metrics",
        "ids",
        "clock",
        "lifecycle",
        "limiter",
        "inflight",
        "trust",
        "breaker",
        "json",
    ],
    &["domain"],
];

/// Modules without a layer: programs of their own, and what only tests compile.
const OUTSIDE: [&str; 3] = ["main", "bin", "testkit"];

fn module_of(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

fn layer_of(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("src/{module}.rs has no layer; add it to LAYERS"))
}

#[test]
fn imports_go_down_the_layers() {
    let mut faults = BTreeSet::new();
    for (file, targets) in imports() {
        let from = module_of(file);
        if OUTSIDE.contains(&from) {
            continue;
        }
        for (target, path) in targets {
            let to = module_of(target);
            if from != to && !OUTSIDE.contains(&to) && layer_of(from) >= layer_of(to) {
                faults.insert(format!("{file} imports {path} from {target}"));
            }
        }
    }
    let faults = Vec::from_iter(faults);
    assert!(faults.is_empty(), "imports that do not go down:\n{}", faults.join("\n"));
}

#[test]
fn the_domain_imports_nothing_but_itself() {
    for (file, targets) in imports().iter().filter(|(file, _)| module_of(file) == "domain") {
        let outside: Vec<_> = targets.keys().filter(|to| module_of(to) != "domain").collect();
        assert!(outside.is_empty(), "{file} imports {outside:?}");
    }
}

#[test]
fn every_layer_exists() {
    let known: BTreeSet<&str> = imports().keys().map(|file| module_of(file)).collect();
    for module in LAYERS.concat() {
        assert!(known.contains(module), "src/{module}.rs does not exist; remove it from LAYERS");
    }
}
