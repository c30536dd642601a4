//! Static checks of the shipped monitoring files: dashboards, rules, compose files, data sources.
//!
//! Tests that need a running server are in the test binary `process`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod alertmanager;
#[path = "../logql/asked.rs"]
mod asked;
mod compose;
mod dashboards;
mod documents;
mod files;
mod logql;
mod provisioning;
mod rules;

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

/// A path in the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file of the repository.
fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs a program of a Debian package in the repository, which has to exit with code 0; gives its
/// output.
fn run(package: &str, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(path("")).output();
    let output = output.unwrap_or_else(|error| {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{program}: {error}");
        panic!("{program} is missing: apt-get install {package}")
    });
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}\n{text}");
    text
}
