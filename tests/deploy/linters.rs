//! Linters of shell scripts, Dockerfiles, compose files and workflows, over the whole repository.

use std::{fs, path::Path};

use crate::{
    kubernetes::{program, run},
    path,
};

/// Folders without files of the repository.
const SKIPPED: [&str; 4] = [".git", "target", "node_modules", "data"];

/// The files of the repository that a predicate chooses by name and text, sorted.
fn files(is_wanted: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![path("")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                let whole = entry.path();
                let relative = whole.strip_prefix(path("")).unwrap().to_str().unwrap();
                if is_wanted(relative, &text) {
                    found.push(relative.to_owned());
                }
            }
        }
    }
    found.sort();
    found
}

/// Runs a linter on files, of which there has to be at least one.
fn lint(linter: &str, arguments: &[&str], files: &[String]) {
    assert!(!files.is_empty(), "{linter} has nothing to check");
    let files = files.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments.iter().copied().chain(files).collect();
    run(&program(linter), &arguments, "");
}

fn ends_with(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| name.ends_with(ending))
}

#[test]
fn shell_scripts_have_no_findings() {
    let scripts = files(|_, text| {
        let first = text.lines().next().unwrap_or_default();
        first.starts_with("#!") && ends_with(first, &["/sh", " sh", "bash"])
    });
    for known in [".ci/test", "deploy/canary/promote"] {
        assert!(scripts.iter().any(|script| script == known), "{known} in {scripts:?}");
    }
    lint("shellcheck", &["--external-sources"], &scripts);
}

#[test]
fn compose_files_have_no_findings() {
    let all = files(|name, text| {
        let file = Path::new(name).file_name().unwrap().to_str().unwrap();
        let is_compose = file.starts_with("compose") || file.starts_with("docker-compose");
        is_compose && ends_with(name, &[".yaml", ".yml"]) && text.contains("\nservices:")
    });
    let config = path("tests/deploy/lint-exceptions.yaml");
    let config = config.to_str().unwrap();
    for file in all.clone() {
        lint("compose-lint", &["check", "--quiet", "--config", config], &[file]);
    }
    lint("check-jsonschema", &["--builtin-schema", "vendor.compose-spec"], &all);
}

#[test]
fn dockerfiles_have_no_findings() {
    let all = files(|name, text| {
        let file = Path::new(name).file_name().unwrap().to_str().unwrap();
        file.contains("Dockerfile") && text.contains("FROM ")
    });
    lint("hadolint", &[], &all);
}

#[test]
fn workflows_have_no_findings() {
    let all = files(|name, _| name.starts_with(".github/workflows/"));
    // actionlint gives the scripts of the steps to shellcheck
    let search = format!("{}:{}", program("").display(), std::env::var("PATH").unwrap());
    let actionlint = program("actionlint");
    let line = format!("PATH='{search}' exec '{}' {}", actionlint.display(), all.join(" "));
    assert!(!all.is_empty(), "no workflows");
    run(Path::new("sh"), &["-c", &line], "");
    lint("zizmor", &["--offline", "--quiet"], &[".github".to_owned()]);
    lint("check-jsonschema", &["--builtin-schema", "vendor.github-workflows"], &all);
    let dependabot = [".github/dependabot.yml".to_owned()];
    lint("check-jsonschema", &["--builtin-schema", "vendor.dependabot"], &dependabot);
}
