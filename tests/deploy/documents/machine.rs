//! A fresh machine for the commands of a document: namespaces of its own for network, processes and mounts,
//! so that the documented ports are free, and an empty folder.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// What the script of every document begins with. `await_server` waits until the server is ready.
const PRELUDE: &str = r"
ip link set lo up
export HOME=$PWD PATH=$PWD/bin:$PATH
await_server() {
  for _ in $(seq 600); do
    curl -sf -o /dev/null http://127.0.0.1:8000/health/ready && return
    sleep 0.1
  done
  cat server.log
  return 1
}
serve() {
  mlsdm serve >>server.log 2>&1 &
  await_server
}
";

/// The binary of this project as people build it in a checkout.
const CARGO: &str = r#"#!/bin/sh
# cargo run --release [--quiet] -- ARGUMENTS
[ "$1 $2" = "run --release" ] || { echo "not emulated: cargo $*" >&2; exit 99; }
while [ "$1" != -- ]; do shift; done
shift
exec mlsdm "$@"
"#;

/// What a command printed on both outputs, and its exit code.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) output: String,
}

/// A machine with the binary on its path.
pub(crate) struct Machine(TempDir);

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_mlsdm"), bin.join("mlsdm")).unwrap();
        fs::write(bin.join("cargo"), CARGO).unwrap();
        let made = Command::new("chmod").arg("+x").arg(bin.join("cargo")).status();
        assert!(made.is_ok_and(|status| status.success()));
        Self(folder)
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Gives it a file or a folder of the repository under the same name.
    pub(crate) fn link(&self, name: &str) {
        symlink(crate::path(name), self.folder().join(name)).unwrap();
    }

    /// Runs commands one after the other in one shell; panics if the shell ends before the last one.
    pub(crate) fn run(&self, commands: &[String]) -> Vec<Done> {
        let mut script = PRELUDE.to_owned();
        for (number, command) in commands.iter().enumerate() {
            // in this shell, so that functions and variables stay
            let redirected = format!(">output.{number} 2>&1 </dev/null; echo $? >code.{number}\n");
            script.extend(["{ ", command.as_str(), "\n} ", redirected.as_str()]);
        }
        let file = self.folder().join("script");
        fs::write(&file, &script).unwrap();
        let ended = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"])
            .args(["--mount-proc", "--kill-child", "bash", "script"])
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("unshare: {error}; install util-linux"));
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(errors.is_empty(), "{errors}\n{script}");
        (0..commands.len()).map(|number| self.done(number, &commands[number])).collect()
    }

    fn done(&self, number: usize, command: &str) -> Done {
        let read = |name: String| {
            let file: PathBuf = self.folder().join(name);
            fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let code = read(format!("code.{number}"));
        let code = code.unwrap_or_else(|error| panic!("did not end: {command}: {error}"));
        let output = read(format!("output.{number}")).unwrap();
        Done { code: code.trim().parse().unwrap(), output }
    }
}
