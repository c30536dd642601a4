//! Parses and runs `LogQL` queries with `logql.mjs`.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// Runs queries on lines; gives a result object for each query.
pub(crate) fn asked(queries: &[String], streams: &Value) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let node = root.join("target/ci/logql/node");
    assert!(
        node.join("node_modules/@grafana/lezer-logql").exists(),
        "the grammar of LogQL is missing: run `.ci/test`, or `npm ci` with the files of tests/logql \
         in {}",
        node.display()
    );
    let mut command = Command::new("node");
    command.arg(root.join("tests/logql/logql.mjs")).arg(node);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input = json!({"queries": queries, "streams": streams}).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}
