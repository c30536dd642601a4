//! How each command of a document is tested.

/// How a command is tested.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// It is run; its output has this text.
    Prints(&'static str),
    /// It is run, and fails with this exit code and text.
    Fails(i32, &'static str),
    /// It starts the server, in the background.
    Serves,
    /// It is run, and then these commands of the test, which have to succeed.
    Then(&'static str),
    /// Another test runs it: the file and a text in it.
    Elsewhere(&'static str, &'static str),
    /// It cannot be run; the command in the list of deploy/GUIDE.md.
    Listed(&'static str),
    /// It is run after it is changed as here: `(old, new)`.
    With(&'static str, &'static str),
}

use Way::{Elsewhere, Fails, Listed, Prints, Serves, Then, With};

/// The documents whose commands are run, and the start of the command. The first entry that fits counts. An
/// entry of no document is for all.
pub(crate) const WAYS: &[(&str, &str, Way)] = &[
    // README
    ("README.md", "cargo run --release -- serve", Serves),
    ("README.md", "ask() {", Prints("")),
    (
        "README.md",
        "ask -H 'X-MLSDM-End-User: ann' -d '{\"prompt\": \"What",
        Prints("\"context_items\":1"),
    ),
    ("README.md", "ask -H 'X-MLSDM-End-User: bob' -d", Prints("\"context_items\":0")),
    ("README.md", "ask -d '{\"prompt\": \"Anything", Prints("\"note\":\"morally rejected\"")),
    ("README.md", "ask -d '{\"prompt\": \"Attack", Prints("\"accepted\":false")),
    ("README.md", "ask -N", Prints("event: done")),
    ("README.md", "ask", Prints("\"accepted\":true")),
    ("README.md", "mlsdm events --type step.rejected", Prints("step.rejected")),
    (
        "README.md",
        "kill -9",
        Then(
            "wait; serve; after=$(mlsdm state --json | grep state_digest); \
             before=$(cat output.* | grep state_digest | tail -n 1); \
             [ \"$after\" = \"$before\" ]",
        ),
    ),
    // GUIDE
    ("deploy/GUIDE.md", "mlsdm serve", Serves),
    ("deploy/GUIDE.md", "curl http://localhost:8000/health", Prints("\"status\":\"healthy\"")),
    (
        "deploy/GUIDE.md",
        "curl -X POST http://localhost:8000/generate -H \"Authorization",
        Prints("\"accepted\":true"),
    ),
    (
        "deploy/GUIDE.md",
        "curl -X POST http://localhost:8000/generate -H \"X-API-Key",
        Elsewhere("deploy/docker/smoke.sh", "/generate"),
    ),
    ("deploy/GUIDE.md", "curl http://localhost:8000/v1/state", Prints("\"state_digest\"")),
    ("deploy/GUIDE.md", "deploy/secrets.sh", Elsewhere("Makefile", "deploy/secrets.sh")),
    ("deploy/GUIDE.md", "cd deploy/monitoring/loki", Listed("docker")),
    ("deploy/GUIDE.md", "make ", Elsewhere("Makefile", "docker-build-neuro-engine:")),
    ("deploy/GUIDE.md", "mlsdm check --production", Fails(1, "item")),
    ("deploy/GUIDE.md", "curl -s http://localhost:9090/metrics", Prints("mlsdm_steps_total")),
    ("deploy/GUIDE.md", "mlsdm events --type step.rejected", Prints("")),
    ("deploy/GUIDE.md", "deploy/canary/", Elsewhere("deploy/canary/verify", "Exit codes")),
    ("deploy/GUIDE.md", "deploy/branch-protection.sh --print", Prints("All CI Checks Passed")),
    ("deploy/GUIDE.md", "deploy/branch-protection.sh OWNER/REPO", Listed("gh")),
    ("deploy/GUIDE.md", "jq ", Listed("cosign")),
    // RUNBOOK
    ("deploy/RUNBOOK.md", "amtool ", Elsewhere("tests/monitoring/alertmanager.rs", "amtool")),
    (
        "deploy/RUNBOOK.md",
        "mlsdm audit quarantine",
        Elsewhere("tests/process/untrusted/forged.rs", "quarantine"),
    ),
    ("deploy/RUNBOOK.md", "mlsdm health --server http://HOST:8000", With("HOST", "127.0.0.1")),
    ("deploy/RUNBOOK.md", "mlsdm audit verify --engine support", Prints("support")),
    ("deploy/RUNBOOK.md", "curl -s http://127.0.0.1:8000/health/detailed", Prints("breakers")),
    // all
    ("", "export ", Prints("")),
    ("", "mlsdm() {", Prints("")),
    ("", "mlsdm ", Prints("")),
    ("", "curl -s ", Prints("")),
    ("", "kubectl ", Listed("kubectl")),
    ("", "docker ", Listed("docker")),
    ("", "cosign ", Listed("cosign")),
    ("", "gh ", Listed("gh")),
    ("", "gcloud ", Listed("gcloud")),
    ("", "aws ", Listed("aws")),
    ("", "cargo binstall ", Listed("cargo binstall")),
];

/// The way of a command.
pub(crate) fn way(document: &str, command: &str) -> Way {
    let fits = |entry: &&(&str, &str, Way)| {
        (entry.0.is_empty() || entry.0 == document) && command.starts_with(entry.1)
    };
    let found = WAYS.iter().find(fits);
    let found = found.unwrap_or_else(|| panic!("{document}: no entry in WAYS for: {command}"));
    found.2
}
