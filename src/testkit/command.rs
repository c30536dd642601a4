//! The `mlsdm` binary: the environment it runs in, and commands that run to their end.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test support: a panic is the report")]

use std::{
    collections::BTreeMap,
    env,
    fmt::Display,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::{CONTENT_KEY, NO_AUTH};

/// The environment of the processes of one test. They see nothing else: neither the variables of
/// the test process nor a `config.yaml` in the working directory.
#[derive(Clone, Debug)]
pub struct TestEnv {
    variables: BTreeMap<String, String>,
    /// Another binary than the one under test.
    program: Option<PathBuf>,
    /// A shell line that ends by running the binary, which it gets as `"$@"`.
    wrapper: Option<&'static str>,
    /// The client for servers that speak TLS.
    pub(super) tls_client: Option<reqwest::Client>,
}

/// The result of a command that has exited.
#[derive(Debug)]
pub struct CommandOutput {
    /// The exit code; -1 if a signal ended the process.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl CommandOutput {
    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// Asserts that the command exited with this code.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "the assertion is often all of the test")]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs `mlsdm` on a database, with these variables over the database URL, the content key and no
/// authentication.
pub fn run_mlsdm(url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
    let mut env = TestEnv::bare(url).with("USER", "auditor");
    for (name, value) in variables {
        env = env.with(name, value);
    }
    let folder = tempfile::tempdir().unwrap();
    env.command(folder.path()).args(arguments).output().unwrap().into()
}

impl TestEnv {
    /// For servers and commands on one database. Rate limits are off, since tests send faster than
    /// callers may, and metrics are served on a free port, since several servers share the machine.
    pub fn new(database_url: &str) -> Self {
        Self::bare(database_url).with("DISABLE_RATE_LIMIT", true).with("METRICS_PORT", 0)
    }

    fn bare(database_url: &str) -> Self {
        let env =
            Self { variables: BTreeMap::new(), program: None, wrapper: None, tls_client: None };
        env.with(NO_AUTH.0, NO_AUTH.1)
            .with("DATABASE_URL", database_url)
            .with("MLSDM_CONTENT_KEY", CONTENT_KEY)
    }

    /// Adds or replaces a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Runs this binary instead of the one under test.
    #[must_use]
    pub fn program(mut self, path: PathBuf) -> Self {
        self.program = Some(path);
        self
    }

    /// Starts the binary by this shell line, which has to end by running `"$@"`.
    #[must_use]
    pub const fn wrapped(mut self, line: &'static str) -> Self {
        self.wrapper = Some(line);
        self
    }

    /// Sends requests to the server over TLS, by this client.
    #[must_use]
    pub fn over_tls(mut self, client: reqwest::Client) -> Self {
        self.tls_client = Some(client);
        self
    }

    /// The time that the stub model takes to answer.
    #[must_use]
    pub fn latency_ms(self, ms: u32) -> Self {
        self.with("MLSDM__LLM__STUB__LATENCY_MS", ms)
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::from(self.command(folder.path()));
        command.args(arguments).kill_on_drop(true).output().await.unwrap().into()
    }

    /// Starts a command in a folder, with its output piped.
    pub fn spawn(&self, folder: &Path, arguments: &[&str]) -> Child {
        let mut command = Command::from(self.command(folder));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn().unwrap()
    }

    pub(super) fn command(&self, folder: &Path) -> std::process::Command {
        let program = self.program.clone().unwrap_or_else(binary);
        let mut command = match self.wrapper {
            None => std::process::Command::new(program),
            Some(line) => {
                let mut shell = std::process::Command::new("sh");
                shell.args(["-c", line, "sh"]).arg(program);
                shell
            }
        };
        command.env_clear().envs(&self.variables).current_dir(folder).stdin(Stdio::null());
        command.env("PATH", env::var_os("PATH").unwrap_or_default());
        command
    }
}

/// The path of the binary under test. Cargo and nextest build it before the integration tests; the
/// variables are theirs.
fn binary() -> PathBuf {
    let given = ["CARGO_BIN_EXE_mlsdm", "NEXTEST_BIN_EXE_mlsdm"].into_iter().find_map(env::var_os);
    given.map_or_else(
        || {
            let test = env::current_exe().unwrap();
            let profile = test.parent().and_then(Path::parent).unwrap();
            profile.join(format!("mlsdm{}", env::consts::EXE_SUFFIX))
        },
        PathBuf::from,
    )
}
