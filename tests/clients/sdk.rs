//! Unmodified SDKs against a provider that refuses what the published APIs refuse. Their scripts
//! assert on what they receive, and print it.

use std::path::Path;

use mlsdm::testkit::strict::{Provider, echo};
use tokio::process::Command;

use crate::{
    extended,
    gateway::{Backend, Gateway, file, installed},
};

/// Runs a part of a script against this address; gives what it printed, or its error.
async fn run(script: &str, part: &str, base: &str) -> Result<String, String> {
    let mut command = if Path::new(script).extension().is_some_and(|extension| extension == "py") {
        let mut command = Command::new(installed("sdk/venv/bin/python"));
        command.arg(file("python").join(script));
        command
    } else {
        let mut command = Command::new("node");
        command.arg(beside_modules(script));
        command
    };
    command.arg(part).env("MLSDM_BASE_URL", base).env("NO_PROXY", "127.0.0.1");
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().await.unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(format!("{script} {part}\n{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Copies the scripts next to `node_modules`, where Node looks for packages.
fn beside_modules(script: &str) -> std::path::PathBuf {
    let folder = installed("sdk/node/node_modules").with_file_name("clients");
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(file("node")).unwrap() {
        let source = entry.unwrap().path();
        let name = source.file_name().map(Path::new).unwrap();
        std::fs::copy(&source, folder.join(name)).unwrap();
    }
    folder.join(script)
}

/// Runs a part of a script through the server with its default policy.
async fn works(script: &str, part: &str, backend: Backend) {
    let gateway = Gateway::new(backend, echo(), &[]).await;
    let done = run(script, part, gateway.server.base()).await;
    let unexpected: Vec<String> =
        gateway.provider.refused().into_iter().filter(|why| !is_scripted(why)).collect();
    assert!(unexpected.is_empty() && done.is_ok(), "refused {unexpected:?}: {done:?}");
    gateway.server.stop().await;
}

/// The same; in the extended tier, the client also receives the same through a server without memory
/// as from the provider itself.
async fn works_as_direct(script: &str, part: &str, backend: Backend) {
    works(script, part, backend).await;
    if extended() {
        let off = [("MLSDM__MLSDM__POLICY__MEMORY__MODE", "off")];
        let gateway = Gateway::new(backend, echo(), &off).await;
        let through = run(script, part, gateway.server.base()).await.unwrap();
        gateway.server.stop().await;
        let provider = Provider::new(echo()).await;
        assert_eq!(through, run(script, part, &provider.url).await.unwrap());
    }
}

/// True for the errors that prompts of the scripts ask for.
fn is_scripted(refusal: &str) -> bool {
    ["SECRET-TEXT", "prompt is too long", "resp_unknown"].iter().any(|text| refusal.contains(text))
}

/// One test for each part of a script.
macro_rules! parts {
    ($works:ident; $($name:ident: $script:literal $part:literal $backend:ident;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $works($script, $part, Backend::$backend).await;
            }
        )*
    };
}

parts! {
    works_as_direct;
    openai_for_python_gets_completions: "openai_sdk.py" "chat" OpenAi;
    openai_for_python_streams_completions: "openai_sdk.py" "chat_stream" OpenAi;
    openai_for_python_calls_tools: "openai_sdk.py" "chat_tools" OpenAi;
    openai_for_python_gets_structured_answers: "openai_sdk.py" "chat_structured" OpenAi;
    openai_for_python_understands_errors: "openai_sdk.py" "chat_errors" OpenAi;
    openai_for_node_works: "openai_sdk.mjs" "chat" OpenAi;
    anthropic_for_python_gets_messages: "anthropic_sdk.py" "messages" Anthropic;
    anthropic_for_python_calls_tools: "anthropic_sdk.py" "messages_tools" Anthropic;
    anthropic_for_python_uses_beta_features: "anthropic_sdk.py" "messages_beta" Anthropic;
    anthropic_for_python_counts_tokens: "anthropic_sdk.py" "messages_count" Anthropic;
    anthropic_for_python_understands_errors: "anthropic_sdk.py" "messages_errors" Anthropic;
    anthropic_for_node_works: "anthropic_sdk.mjs" "messages" Anthropic;
    ai_for_node_works_with_completions: "ai_sdk.mjs" "chat" OpenAi;
    ai_for_node_works_with_messages: "ai_sdk.mjs" "messages" Anthropic;
}

/// Clients that need seconds to start: the extended tier.
mod heavy {
    use super::{Backend, works_as_direct};

    parts! {
        works_as_direct;
        openai_agents_works_with_completions: "agents_sdk.py" "chat" OpenAi;
        langchain_openai_works_with_completions: "langchain_sdk.py" "chat" OpenAi;
        langchain_anthropic_works: "langchain_sdk.py" "messages" Anthropic;
        litellm_works_with_completions: "litellm_sdk.py" "chat" OpenAi;
        litellm_works_with_messages: "litellm_sdk.py" "messages" Anthropic;
        the_llm_command_calls_tools: "llm_sdk.py" "chat" OpenAi;
    }
}

/// The Responses API.
mod responses {
    use super::{Backend, works_as_direct};

    parts! {
        works_as_direct;
        openai_for_python_gets_responses: "openai_sdk.py" "responses" Responses;
        openai_for_python_calls_tools: "openai_sdk.py" "responses_tools" Responses;
        openai_for_python_continues_responses: "openai_sdk.py" "responses_state" Responses;
        openai_for_python_gets_structured_answers: "openai_sdk.py" "responses_structured" Responses;
        openai_for_python_understands_errors: "openai_sdk.py" "responses_errors" Responses;
        openai_for_node_works: "openai_sdk.mjs" "responses" Responses;
        ai_for_node_works: "ai_sdk.mjs" "responses" Responses;
    }

    mod heavy {
        use super::{Backend, works_as_direct};

        parts! {
            works_as_direct;
            openai_agents_works: "agents_sdk.py" "responses" Responses;
            langchain_openai_works: "langchain_sdk.py" "responses" Responses;
        }
    }
}

/// Clients of one dialect with a provider of the other.
mod translated {
    use super::{Backend, works};

    parts! {
        works;
        openai_for_python_calls_tools_of_claude: "openai_sdk.py" "chat_tools" Anthropic;
        openai_for_python_streams_claude: "openai_sdk.py" "chat_stream" Anthropic;
        anthropic_for_node_calls_tools_of_gpt: "anthropic_sdk.mjs" "messages" OpenAi;
        responses_of_completions: "openai_sdk.py" "responses" OpenAi;
        tools_of_responses_of_completions: "openai_sdk.py" "responses_tools" OpenAi;
        continued_responses_of_completions: "openai_sdk.py" "responses_state" OpenAi;
        responses_of_claude: "openai_sdk.mjs" "responses" Anthropic;
    }
}
