//! Sizes that keep the code readable: lines of a file, files that extend the engine.

use std::{fs, path::Path};

/// Lines of a file.
const LINES_MAX: usize = 400;
/// Files with an `impl Engine`.
const ENGINE_FILES_MAX: usize = 4;

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

fn all(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in folders {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    assert!(!found.is_empty(), "no source in {folders:?}");
    found
}

#[test]
fn no_file_is_longer_than_its_limit() {
    let long = |(_, text): &(String, String)| text.lines().count() > LINES_MAX;
    let found: Vec<String> =
        all(&["src", "tests"]).into_iter().filter(long).map(|(file, _)| file).collect();
    assert!(found.is_empty(), "over {LINES_MAX} lines: {found:?}");
}

#[test]
fn the_engine_is_implemented_in_few_files() {
    let extends = |(_, text): &(String, String)| text.lines().any(|line| line == "impl Engine {");
    let engine = all(&["src/engine"]).into_iter().filter(extends).map(|(file, _)| file);
    let found: Vec<String> = engine.collect();
    assert!((1..=ENGINE_FILES_MAX).contains(&found.len()), "impl Engine in {found:?}");
}
