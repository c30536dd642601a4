//! The workflows, the protection of the branch, and the package. `actionlint` and `zizmor` check the form.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

use crate::{documents::blocks::text, path};

const CI: &str = ".github/workflows/ci.yml";
const RELEASE: &str = ".github/workflows/release.yml";

/// The job that all required checks lead to.
const GATE: &str = "All CI Checks Passed";

fn yaml(file: &str) -> Value {
    serde_saphyr::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// All steps of a workflow.
fn steps(file: &str) -> Vec<Value> {
    let jobs = yaml(file)["jobs"].as_object().unwrap().clone();
    jobs.values().flat_map(|job| job["steps"].as_array().unwrap().clone()).collect()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).current_dir(path("")).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_required_checks_are_the_jobs_of_the_workflow() {
    let request = run("deploy/branch-protection.sh", &["--print"]);
    let request: Value = serde_json::from_str(&request).unwrap();
    let checks = request["required_status_checks"]["contexts"].as_array().unwrap();
    let required: BTreeSet<&str> = checks.iter().map(|name| name.as_str().unwrap()).collect();
    let ci = yaml(CI);
    let jobs = ci["jobs"].as_object().unwrap();
    let names: BTreeSet<&str> = jobs.values().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(required, names);
    // a matrix would add its values to the name of the check
    assert!(jobs.values().all(|job| job["strategy"].is_null()));

    let (gate, others): (Vec<_>, Vec<_>) = jobs.iter().partition(|(_, job)| job["name"] == GATE);
    let needs: BTreeSet<&str> =
        gate[0].1["needs"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(needs, others.iter().map(|(id, _)| id.as_str()).collect());
    let guide = text("deploy/GUIDE.md");
    for name in names {
        assert!(guide.contains(&format!("| `{name}` |")), "deploy/GUIDE.md lists {name}");
    }
}

/// `.ci/test` fetches packages of newer releases of Debian with the keys of Debian 12, and needs root.
#[test]
fn the_jobs_that_run_all_tests_have_the_machine_that_the_tests_need() {
    let ci = yaml(CI);
    let mut found = 0;
    for (id, job) in ci["jobs"].as_object().unwrap() {
        let steps = job["steps"].as_array().unwrap();
        let runs = |step: &Value| step["run"].as_str().is_some_and(|run| run.contains(".ci/test"));
        if steps.iter().any(runs) {
            let image = job["container"]["image"].as_str().unwrap_or_else(|| panic!("{id}"));
            assert!(image.contains("-bookworm"), "{id}: {image}");
            assert_eq!(job["container"]["options"], "--privileged", "{id}");
            found += 1;
        }
    }
    assert_eq!(found, 2);
    assert!(!text(CI).contains("sudo"), "sudo has a PATH of its own");
}

/// A tag of an action can be moved to another commit.
#[test]
fn every_action_is_pinned_by_its_commit() {
    let mut pinned = 0;
    for file in [CI, RELEASE] {
        for line in text(file).lines().filter(|line| line.contains("uses:")) {
            let (_, used) = line.split_once('@').unwrap_or_else(|| panic!("{line}"));
            let (commit, version) = used.split_once(" # v").unwrap_or_else(|| panic!("{line}"));
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit && version.starts_with(char::is_numeric), "{line}");
            pinned += 1;
        }
    }
    assert!(pinned > 10, "{pinned}");
}

#[test]
fn files_that_the_workflows_name_exist() {
    let mut named = 0;
    for file in [CI, RELEASE] {
        for step in steps(file) {
            for word in step["run"].as_str().unwrap_or_default().split_whitespace() {
                let word = word.trim_start_matches("./");
                let is_file = ["deploy/", ".ci/", ".github/"].iter().any(|at| word.starts_with(at));
                if is_file && !word.contains('*') {
                    assert!(path(word).exists(), "{file}: {word}");
                    named += 1;
                }
            }
        }
    }
    assert!(named >= 4, "{named}");
}

/// `cargo binstall` looks for the archive that the release workflow makes.
#[test]
fn the_archives_of_a_release_are_those_of_the_metadata() {
    let manifest = text("Cargo.toml");
    let value = |key: &str| {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let (url, folder) = (value("pkg-url"), value("bin-dir"));
    assert_eq!(url, "{ repo }/releases/download/v{ version }/{ name }-{ target }.tar.gz");
    assert_eq!(folder, "{ name }-{ target }/{ bin }{ binary-ext }");
    assert!(manifest.contains("\npublish = false\n"));
    let release = text(RELEASE);
    for part in ["folder=mlsdm-$TARGET", "\"out/$folder.tar.gz\"", "\"$folder/mlsdm\""] {
        assert!(release.contains(part), "{part}");
    }
    let build = &yaml(RELEASE)["jobs"]["build"]["strategy"]["matrix"]["include"];
    let targets: Vec<&Value> = build.as_array().unwrap().iter().map(|one| &one["target"]).collect();
    assert_eq!(targets, ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]);
}

#[test]
fn a_release_signs_by_digest_and_publishes_its_sboms() {
    let release = text(RELEASE);
    for part in [
        "cosign sign --yes --recursive \"$IMAGE@$digest\"",
        "cosign attest --yes --type cyclonedx --predicate sbom-cyclonedx.json \"$IMAGE@$digest\"",
        "cosign attest --yes --type spdxjson --predicate sbom-spdx.json \"$IMAGE@$digest\"",
        "mv sbom-cyclonedx.json sbom-spdx.json out",
        "gh release create \"$GITHUB_REF_NAME\"",
        "--test deploy slo::heavy",
    ] {
        assert!(release.contains(part), "{part}");
    }
    assert!(!release.contains("cargo publish"), "publishing is off");
    // a tag leads to images that are signed, attested and verified
    let place = |part: &str| release.find(part).unwrap_or_else(|| panic!("{part}"));
    let verified = place("cosign verify-attestation ");
    assert!(place("cosign sign ") < verified && place("attest-build-provenance@") < verified);
    for tag in ["--tag \"$IMAGE:$version$2\"", "--tag \"$IMAGE:latest$2\""] {
        assert!(verified < place(tag), "{tag}");
    }
    assert!(place(":latest") > verified);
    // every stage of the Dockerfile that gets a tag
    let variants = &yaml(RELEASE)["jobs"]["build"]["strategy"]["matrix"]["variant"];
    let dockerfile = text("deploy/docker/Dockerfile.neuro-engine-service");
    for variant in variants.as_array().unwrap() {
        let stage = format!(" AS {}", variant.as_str().unwrap());
        assert!(dockerfile.lines().any(|line| line.ends_with(&stage)), "{stage}");
    }
}

/// The verifying build is in the workflow: it compiles all dependencies.
#[test]
fn the_package_has_all_files_that_the_build_needs() {
    let listed = run("cargo", &["package", "--list", "--allow-dirty", "--offline"]);
    let listed: BTreeSet<&str> = listed.lines().collect();
    let sources = run("git", &["ls-files", "src", "migrations", "examples"]);
    for file in sources.lines() {
        assert!(listed.contains(file), "{file}");
    }
    for file in ["alerts/slo.yaml", "alerts/components.yaml", "alerts/metrics.json"] {
        assert!(listed.contains(file), "{file}");
    }
    let mut packed = Vec::new();
    for file in &listed {
        packed.extend(std::fs::metadata(path(file)).map(|file| file.len()));
    }
    let bytes: u64 = packed.iter().sum();
    // a registry accepts 10 MiB of compressed files
    assert!(bytes < 10 * 1024 * 1024, "{bytes}");
    assert!(text(CI).contains("cargo package --locked"));
}
