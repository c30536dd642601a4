//! The binary, run over a database.

use std::process::{Command, Output};

use serde_json::Value;

/// The content key of all databases here.
pub(crate) const KEY: &str = "3131313131313131313131313131313131313131313131313131313131313131";

/// What a command said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs `mlsdm` with a database and nothing else of this process's environment.
pub(crate) fn mlsdm(url: &str, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlsdm"));
    command
        .env_clear()
        .env("DATABASE_URL", url)
        .env("MLSDM_CONTENT_KEY", KEY)
        .env(mlsdm::testkit::OPEN.0, mlsdm::testkit::OPEN.1)
        .env("USER", "auditor")
        .envs(env.iter().copied())
        .current_dir(std::env::temp_dir())
        .args(arguments);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}
