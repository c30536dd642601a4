//! Claude Code and Codex CLI through the server, in a network that has only loopback: an attempt to
//! reach anything else fails.

use std::{env, path::Path, process::Output};

use mlsdm::testkit::strict::{Answer, turns};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::gateway::{Backend, Gateway, installed};

/// Runs the test of this name again in a network namespace of its own. False inside.
async fn runs_isolated(name: &str) -> bool {
    if env::var_os("MLSDM_ISOLATED").is_some() {
        return false;
    }
    let up = "ip link set lo up && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user", "sh", "-c", up, "sh"]);
    command.arg(env::current_exe().unwrap()).args(["--exact", "--nocapture", name]);
    let output = command.env("MLSDM_ISOLATED", "1").output().await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{error}");
    assert!(printed.contains("1 passed"), "{printed}\n{error}");
    true
}

/// A home and a project with one file.
struct Desk {
    home: TempDir,
    project: TempDir,
}

impl Desk {
    fn new() -> Self {
        // Codex refuses a home below /tmp
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci/agents");
        let desk = Self {
            home: tempfile::tempdir_in(folder).unwrap(),
            project: tempfile::tempdir().unwrap(),
        };
        std::fs::write(desk.file(), "hello\n").unwrap();
        desk
    }

    fn file(&self) -> std::path::PathBuf {
        self.project.path().join("a.txt")
    }

    fn command(&self, name: &str) -> Command {
        self.program(installed("agents/node/node_modules/.bin").join(name))
    }

    fn program(&self, path: std::path::PathBuf) -> Command {
        let mut command = Command::new(path);
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path()).current_dir(self.project.path());
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        command
    }

    /// Claude Code with a prompt, in a session of its own or in the last one.
    async fn claude(&self, base: &str, prompt: &str, more: &[&str]) -> Value {
        let mut command = self.command("claude");
        command.args(["-p", prompt, "--output-format", "json"]).args(more);
        command.args(["--allowedTools", "Read,Edit,Bash"]);
        command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
        command.env("ANTHROPIC_CUSTOM_HEADERS", "X-MLSDM-Memory: full");
        command.env("ANTHROPIC_BASE_URL", base).env("ANTHROPIC_API_KEY", "k");
        let output = command.output().await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    /// Codex with a prompt, and with a use of the memory; gives its events.
    async fn codex(&self, base: &str, prompt: &str, memory: &str) -> (Vec<Value>, Output) {
        let folder = self.home.path().join(".codex");
        std::fs::create_dir_all(&folder).unwrap();
        let config = format!(
            "model = \"gpt-5\"\nmodel_provider = \"local\"\n[model_providers.local]\n\
             name = \"local\"\nbase_url = \"{base}/v1\"\nwire_api = \"responses\"\n\
             env_key = \"KEY\"\nhttp_headers = {{ \"X-MLSDM-Memory\" = \"{memory}\" }}\n"
        );
        std::fs::write(folder.join("config.toml"), config).unwrap();
        let mut command = self.command("codex");
        command.args(["exec", "--skip-git-repo-check", "--json"]);
        command.args(["--sandbox", "danger-full-access", prompt]).env("KEY", "k");
        let output = command.output().await.unwrap();
        let events = output.stdout.split(|byte| *byte == b'\n');
        let events = events.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        (events, output)
    }
}

const TASK: &str = "Replace hello by goodbye in a.txt";
const DONE: &str = "The file says goodbye now.";

/// The turns of Claude Code: two tools in parallel, an edit, a command, a text.
fn claude_task(desk: &Desk) -> Vec<Answer> {
    let path = desk.file();
    let list = json!({"command": "ls", "description": "List the files"});
    let show = json!({"command": "cat a.txt", "description": "Show the file"});
    let edit = json!({"file_path": path, "old_string": "hello", "new_string": "goodbye"});
    vec![
        Answer::calls([("Read", json!({ "file_path": path })), ("Bash", list)])
            .thinking("First I look at the file.")
            .saying("I read the file."),
        Answer::calls([("Edit", edit)]).thinking("Now I edit it."),
        Answer::calls([("Bash", show)]),
        Answer::text(DONE),
    ]
}

#[tokio::test]
async fn claude_code_finishes_a_task() {
    if runs_isolated("agents::claude_code_finishes_a_task").await {
        return;
    }
    for mode in ["full", "off"] {
        let desk = Desk::new();
        let memory = [("MLSDM__MLSDM__POLICY__MEMORY__MODE", mode)];
        let gateway = Gateway::new(Backend::Anthropic, turns(claude_task(&desk)), &memory).await;
        let told = desk.claude(gateway.server.base(), TASK, &[]).await;
        assert_eq!((&told["result"], &told["is_error"]), (&json!(DONE), &json!(false)), "{told}");
        assert_eq!(std::fs::read_to_string(desk.file()).unwrap(), "goodbye\n");
        assert_eq!(gateway.provider.calls().len(), 4);
        gateway.is_consistent().await;
        let completed = gateway.events("step.completed").await;
        let cost: u64 = completed
            .iter()
            .map(|event| event["clear"]["cost"]["micro_usd"].as_u64().unwrap())
            .sum();
        assert!(cost > 0, "{completed:?}");
        gateway.server.stop().await;
    }
}

#[tokio::test]
async fn codex_finishes_a_task() {
    if runs_isolated("agents::codex_finishes_a_task").await {
        return;
    }
    for backend in [Backend::Responses, Backend::OpenAi] {
        for memory in ["full", "off"] {
            codex_finishes(backend, memory).await;
        }
    }
}

/// The turns of Codex: two commands in parallel, an edit, a command, a text.
fn codex_task() -> Vec<Answer> {
    let call = |line: &str| ("exec_command", json!({ "cmd": line }));
    vec![
        Answer::calls([call("cat a.txt"), call("ls")])
            .thinking("First I look at the file.")
            .saying("I read the file."),
        Answer::calls([call("sed -i s/hello/goodbye/ a.txt")]).thinking("Now I edit it."),
        Answer::calls([call("cat a.txt")]),
        Answer::text(DONE),
    ]
}

async fn codex_finishes(backend: Backend, memory: &str) {
    let desk = Desk::new();
    let gateway = Gateway::new(backend, turns(codex_task()), &[]).await;
    let (events, output) = desk.codex(gateway.server.base(), TASK, memory).await;
    let said = |text: &str| events.iter().any(|event| event["item"]["text"] == text);
    assert!(said(DONE), "{output:?}");
    // chat completions have no field for a summary of reasoning that Codex shows
    let thinks = said("First I look at the file.") || matches!(backend, Backend::OpenAi);
    assert!(thinks, "{events:?}");
    assert_eq!(std::fs::read_to_string(desk.file()).unwrap(), "goodbye\n");
    assert_eq!(gateway.provider.calls().len(), 4);
    gateway.is_consistent().await;
    gateway.server.stop().await;
}

#[tokio::test]
async fn codex_uses_the_memory_of_another_conversation() {
    if runs_isolated("agents::codex_uses_the_memory_of_another_conversation").await {
        return;
    }
    let desk = Desk::new();
    let gateway = Gateway::new(Backend::Responses, turns(codex_task()), &[]).await;
    let base = gateway.server.base();
    let (_, output) =
        desk.codex(base, "Replace hello by goodbye, says my friend Rex", "full").await;
    assert_eq!(std::fs::read_to_string(desk.file()).unwrap(), "goodbye\n", "{output:?}");
    std::fs::write(desk.file(), "hello\n").unwrap();
    for (memory, knows) in [("off", false), ("full", true)] {
        let (events, output) = desk.codex(base, TASK, memory).await;
        assert!(events.iter().any(|event| event["item"]["text"] == DONE), "{output:?}");
        let calls = gateway.provider.calls();
        let input = calls.last().unwrap().json()["input"].to_string();
        assert_eq!(input.contains("my friend Rex"), knows, "{memory}: {input}");
    }
    gateway.is_consistent().await;
    gateway.server.stop().await;
}

/// A file whose content is refused when an agent shows it to its model.
const HARMFUL: &str = "Attack, kill and destroy\n";

/// What happened to the steps of an agent, in their order.
async fn outcomes(gateway: &Gateway) -> Vec<String> {
    let mut outcomes = Vec::new();
    for kind in ["step.completed", "step.rejected"] {
        for event in gateway.events(kind).await {
            outcomes.push((event["position"].as_u64().unwrap(), kind.to_owned()));
        }
    }
    outcomes.sort();
    outcomes.into_iter().map(|(_, kind)| kind).collect()
}

const REQUEST_IS_JUDGED: [(&str, &str); 1] = [("MLSDM__MLSDM__POLICY__MORAL__SCOPE", "request")];

#[tokio::test]
async fn claude_code_reports_a_moral_refusal_within_a_loop_of_tools() {
    if runs_isolated("agents::claude_code_reports_a_moral_refusal_within_a_loop_of_tools").await {
        return;
    }
    let desk = Desk::new();
    std::fs::write(desk.file(), HARMFUL).unwrap();
    let script = turns(claude_task(&desk));
    let gateway = Gateway::new(Backend::Anthropic, script, &REQUEST_IS_JUDGED).await;
    let told = desk.claude(gateway.server.base(), TASK, &[]).await;
    let report = told["result"].as_str().unwrap_or_default();
    assert!(report.contains("unable to respond to this request"), "{told}");
    assert_eq!(gateway.provider.calls().len(), 1, "a refused result reaches no provider");
    assert_eq!(outcomes(&gateway).await, ["step.completed", "step.rejected"]);
    assert_eq!(std::fs::read_to_string(desk.file()).unwrap(), HARMFUL);
    gateway.is_consistent().await;
    gateway.server.stop().await;
}

#[tokio::test]
async fn codex_reports_a_moral_refusal_within_a_loop_of_tools() {
    if runs_isolated("agents::codex_reports_a_moral_refusal_within_a_loop_of_tools").await {
        return;
    }
    let desk = Desk::new();
    std::fs::write(desk.file(), HARMFUL).unwrap();
    let script = turns(codex_task());
    let gateway = Gateway::new(Backend::Responses, script, &REQUEST_IS_JUDGED).await;
    let (events, output) = desk.codex(gateway.server.base(), TASK, "recall").await;
    let text = serde_json::to_string(&events).unwrap();
    assert!(text.contains("morally rejected"), "{output:?}");
    assert_eq!(gateway.provider.calls().len(), 1, "a refused result reaches no provider");
    assert_eq!(outcomes(&gateway).await, ["step.completed", "step.rejected"]);
    assert_eq!(std::fs::read_to_string(desk.file()).unwrap(), HARMFUL);
    gateway.is_consistent().await;
    gateway.server.stop().await;
}

#[tokio::test]
async fn claude_code_uses_the_memory_of_another_conversation() {
    if runs_isolated("agents::claude_code_uses_the_memory_of_another_conversation").await {
        return;
    }
    let desk = Desk::new();
    let memory = [("MLSDM__MLSDM__POLICY__MEMORY__MODE", "full")];
    let gateway = Gateway::new(Backend::Anthropic, turns(claude_task(&desk)), &memory).await;
    let base = gateway.server.base();
    let early = desk.claude(base, "Replace hello by goodbye, says my friend Rex", &[]).await;
    assert_eq!(early["is_error"], false, "{early}");
    std::fs::write(desk.file(), "hello\n").unwrap();
    let told = desk.claude(base, TASK, &[]).await;
    assert_eq!(told["result"], DONE, "{told}");
    let calls = gateway.provider.calls();
    let last = calls.last().unwrap().json();
    let remembered: Vec<Value> = gateway
        .events("step.completed")
        .await
        .iter()
        .map(|event| event["clear"]["memory"].clone())
        .collect();
    let messages = last["messages"].to_string();
    assert!(messages.contains("my friend Rex"), "{remembered:?}");
    gateway.is_consistent().await;
    gateway.server.stop().await;
}

#[tokio::test]
async fn claude_code_reports_a_moral_refusal_and_goes_on() {
    if runs_isolated("agents::claude_code_reports_a_moral_refusal_and_goes_on").await {
        return;
    }
    let desk = Desk::new();
    let gateway = Gateway::new(Backend::Anthropic, turns(claude_task(&desk)), &[]).await;
    let base = gateway.server.base();
    assert_eq!(desk.claude(base, TASK, &[]).await["result"], DONE);
    let refused = desk.claude(base, "Attack, kill and destroy", &["--continue"]).await;
    let report = refused["result"].as_str().unwrap();
    assert!(report.contains("unable to respond to this request"), "{refused}");
    assert_eq!(gateway.provider.calls().len(), 4, "a refused prompt reaches no provider");
    // Claude Code asks for a new session after a refusal
    let told = desk.claude(base, "Thank you, friend", &[]).await;
    assert_eq!((&told["result"], &told["is_error"]), (&json!(DONE), &json!(false)), "{told}");
    assert_eq!(gateway.events("step.rejected").await.len(), 1);
    gateway.is_consistent().await;
    gateway.server.stop().await;
}

#[tokio::test]
async fn codex_reports_a_moral_refusal() {
    if runs_isolated("agents::codex_reports_a_moral_refusal").await {
        return;
    }
    let desk = Desk::new();
    let gateway = Gateway::new(Backend::Responses, turns(Vec::new()), &[]).await;
    let (events, output) =
        desk.codex(gateway.server.base(), "Attack, kill and destroy", "recall").await;
    let text = serde_json::to_string(&events).unwrap();
    assert!(text.contains("morally rejected"), "{output:?}");
    assert_eq!(gateway.provider.calls().len(), 0, "a refused prompt reaches no provider");
    gateway.server.stop().await;
}

/// Clients that need many seconds to start: the extended tier.
mod heavy {
    use std::sync::Arc;

    use mlsdm::testkit::strict::{Answer, Reply};

    use super::{Backend, Desk, Gateway, TASK, installed};

    async fn aider_edits_a_file(model: &str, backend: Backend) {
        let desk = Desk::new();
        let edit = "a.txt\n```\n<<<<<<< SEARCH\nhello\n=======\ngoodbye\n>>>>>>> REPLACE\n```\n";
        let gateway =
            Gateway::new(backend, Arc::new(move |_| Reply::Answer(Answer::text(edit))), &[]).await;
        let base = gateway.server.base();
        let mut command = desk.program(installed("aider/venv/bin/aider"));
        command.args(["--model", model, "--no-git", "--yes-always", "--no-check-update"]);
        command.args(["--analytics-disable", "--no-show-model-warnings", "--no-gitignore"]);
        command.args(["--no-show-release-notes", "--no-suggest-shell-commands"]);
        command.args(["--no-detect-urls", "--edit-format", "diff", "--message", TASK, "a.txt"]);
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
        command.env("OPENAI_API_KEY", "k").env("OPENAI_API_BASE", format!("{base}/v1"));
        command.env("ANTHROPIC_API_KEY", "k").env("ANTHROPIC_API_BASE", base);
        command.env("ANTHROPIC_BASE_URL", base).env("NO_PROXY", "127.0.0.1");
        let output = command.output().await.unwrap();
        assert_eq!(std::fs::read_to_string(desk.file()).unwrap(), "goodbye\n", "{output:?}");
        gateway.is_consistent().await;
        gateway.server.stop().await;
    }

    #[tokio::test]
    async fn aider_edits_a_file_with_completions() {
        aider_edits_a_file("openai/gpt-4.1", Backend::OpenAi).await;
    }

    #[tokio::test]
    async fn aider_edits_a_file_with_messages() {
        aider_edits_a_file("anthropic/claude-3-7-sonnet-20250219", Backend::Anthropic).await;
    }
}
