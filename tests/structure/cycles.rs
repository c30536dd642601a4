//! Cycles of files: none but those listed, each with a reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::crate_graph::{Imports, imports};

/// Cycles that stay, with the reason. A cycle is the set of files that reach each other.
const ALLOWED: &[(&[&str], &str)] = &[];

/// The files that each file reaches.
fn reachable(imports: &Imports) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut all = BTreeMap::new();
    for start in imports.keys() {
        let mut found = BTreeSet::new();
        let mut open = vec![start.as_str()];
        while let Some(file) = open.pop() {
            for target in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
                if found.insert(target.as_str()) {
                    open.push(target);
                }
            }
        }
        all.insert(start.as_str(), found);
    }
    all
}

/// The cycles of files, each as a sorted list.
fn cycles(imports: &Imports) -> BTreeSet<Vec<&str>> {
    let reach = reachable(imports);
    let reaches = |from: &str, to: &str| reach.get(from).is_some_and(|found| found.contains(to));
    let on_cycles = reach.keys().filter(|file| reaches(file, file));
    let cycle = |file: &&str| {
        reach[*file].iter().copied().filter(|other| reaches(other, file)).collect::<Vec<_>>()
    };
    on_cycles.map(cycle).collect()
}

#[test]
fn files_form_no_cycles_but_those_listed() {
    let found = cycles(imports());
    let allowed: BTreeSet<Vec<&str>> = ALLOWED.iter().map(|(files, _)| files.to_vec()).collect();
    let mut faults: Vec<String> = Vec::new();
    for cycle in found.difference(&allowed) {
        faults.push("cycle:".to_owned());
        for file in cycle {
            for (target, path) in &imports()[*file] {
                if cycle.contains(&target.as_str()) {
                    faults.push(format!("  {file} uses {path} of {target}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let gone: Vec<_> = allowed.difference(&found).collect();
    assert!(gone.is_empty(), "cycles that no longer exist, to be removed from ALLOWED: {gone:?}");
}

#[test]
fn every_allowed_cycle_has_a_reason() {
    for (files, reason) in ALLOWED {
        assert!(reason.len() > 20, "{files:?}: {reason:?}");
        assert!(files.is_sorted(), "{files:?} is not sorted");
    }
}

#[test]
fn a_cycle_is_found() {
    let edge = |from: &str, to: &str| {
        (from.to_owned(), BTreeMap::from([(to.to_owned(), "a::B".to_owned())]))
    };
    let imports = Imports::from([edge("a", "b"), edge("b", "c"), edge("c", "b"), edge("d", "a")]);
    assert_eq!(cycles(&imports), BTreeSet::from([vec!["b", "c"]]));
}
