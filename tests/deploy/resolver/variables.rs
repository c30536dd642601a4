//! The variables and keys of the configuration that files of the deployment and documents name.

use std::{collections::BTreeSet, fs, path::PathBuf};

use mlsdm::config::{Config, NAMED_VARIABLES, Sources};

use crate::path;

/// Variables that are not settings: of commands, tests and builds.
const OTHERS: [&str; 6] = [
    "MLSDM_API_KEY",
    "MLSDM_BINARY",
    "MLSDM_COMMIT",
    "MLSDM_CONFIG",
    "MLSDM_SIGNING_KEY",
    "MLSDM_TOKEN",
];

/// The texts of the files that operators read and run.
fn files() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![path("deploy"), path("docker")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                folders.push(entry);
            } else if let Ok(text) = fs::read_to_string(&entry) {
                found.push((entry, text));
            }
        }
    }
    found.push((path("README.md"), fs::read_to_string(path("README.md")).unwrap()));
    found
}

/// The names in a text that begin like variables of this program.
fn variables(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c));
    let own = |word: &&str| word.starts_with("MLSDM_") && !word.ends_with('_');
    words.filter(own).filter(|word| !word.contains(char::is_lowercase)).collect()
}

/// The names that a text interpolates.
fn interpolated(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = text.split("${").skip(1).filter_map(|rest| rest.split(|c| !is_name(c)).next());
    names.collect()
}

#[test]
fn every_variable_that_files_and_documents_name_is_one_of_the_server() {
    let none: Vec<(String, String)> = Vec::new();
    let sources = Sources { file: None, dir: "/nonexistent".into(), env: none, flags: Vec::new() };
    let settings = Config::load(sources).unwrap().settings;
    let keys: BTreeSet<&str> = settings.iter().map(|setting| setting.key.as_str()).collect();
    let files = files();
    // those of a compose file itself, such as the version of the image
    let interpolated: BTreeSet<&str> =
        files.iter().flat_map(|(_, text)| interpolated(text)).collect();
    let is_known = |name: &str| match name.strip_prefix("MLSDM__") {
        // the example of the documents, and a shorthand that sets two keys
        Some("SECTION__KEY" | "MLSDM__PRESET") => true,
        Some(key) => {
            let key = key.to_lowercase().replace("__", ".");
            keys.contains(key.trim_end_matches("_file")) || keys.contains(key.as_str())
        }
        None => {
            let base = name.strip_suffix("_FILE").unwrap_or(name);
            let is_other = OTHERS.contains(&base) || base.starts_with("MLSDM_TEST_");
            is_other
                || interpolated.contains(base)
                || NAMED_VARIABLES.iter().any(|(known, _)| *known == base)
        }
    };
    let (mut checked, mut unknown) = (0, Vec::new());
    for (file, text) in &files {
        for name in variables(text) {
            checked += 1;
            if !is_known(name) {
                unknown.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(checked > 100, "{checked}");
}
