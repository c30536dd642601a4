//! What is shipped to watch the server, as files: it parses, resolves and says what it should.
//!
//! Not here: what it takes a running server to see (`process`).
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test reports")]

mod alertmanager;
#[path = "../logql/asked.rs"]
mod asked;
mod compose;
mod dashboards;
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

/// Runs a program of a Debian package in the repository; it must be content. Gives what it says.
fn run(package: &str, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(path("")).output();
    let output = output.unwrap_or_else(|error| {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{program}: {error}");
        panic!("{program} is not here; install Debian's package: apt-get install {package}")
    });
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}\n{text}");
    text
}
