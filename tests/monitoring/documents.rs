//! The documents: their links resolve, and the README is short and names existing files.

use std::{collections::BTreeSet, path::Path};

use crate::files;

/// The longest README that still reads as an introduction.
const README_LINES: usize = 200;

fn documents() -> Vec<String> {
    let mut documents = files::below("deploy", ".md");
    documents.extend(["README.md".to_owned(), "migrations/README.md".to_owned()]);
    documents
}

/// The targets of the Markdown links in a text.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchors of the headings in a text, as GitHub derives them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut code = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        code ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        if !code && title.len() < line.len() {
            let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
            let anchor: String = title.trim().to_lowercase().chars().filter(kept).collect();
            anchors.insert(anchor.replace(' ', "-"));
        }
    }
    anchors
}

#[test]
fn every_link_of_the_documents_resolves() {
    let mut checked = 0;
    for document in documents() {
        let text = files::text(&document);
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&document).parent().unwrap();
            let target = if file.is_empty() {
                files::path(&document)
            } else {
                files::path(folder.to_str().unwrap()).join(file)
            };
            assert!(target.exists(), "{document}: {link} does not exist");
            if !anchor.is_empty() {
                let headings = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(headings.contains(anchor), "{document}: {link} is no heading");
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn the_readme_is_short_and_names_existing_files() {
    let readme = files::text("README.md");
    assert!(readme.lines().count() <= README_LINES, "move details to deploy/");
    let mut checked = 0;
    for name in readme.split('`').skip(1).step_by(2) {
        let is_path = ["src/", "deploy/", "alerts/", "tests/", "examples/", ".ci/"];
        if is_path.iter().any(|start| name.starts_with(start)) && !name.contains(['*', ' ', '<']) {
            assert!(files::path(name).exists(), "{name} does not exist");
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}
