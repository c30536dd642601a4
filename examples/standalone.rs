//! A governed memory as a library: no server, no network and a model of three lines.
//!
//! Run it with `cargo run --example standalone`.

use std::io::{self, Write};

use mlsdm::{Engine, Error, Generate, llm};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("mlsdm-standalone-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let url = format!("sqlite://{}", folder.join("memory.db").display());
    let result = run(&url, &mut io::stdout().lock()).await;
    std::fs::remove_dir_all(&folder)?;
    result
}

/// Stands in for a real model: its answer depends on the context only.
async fn model(request: llm::Request) -> Result<String, llm::LlmError> {
    // remembered text stands before the prompt
    let text = request.messages.first().map_or("", |message| message.text.as_str());
    let context = text.strip_suffix(&*request.prompt).unwrap_or_default();
    std::future::ready(Ok(match (context.is_empty(), context.contains("called Rex")) {
        (true, _) => "That is good to hear, and I will keep it in mind from now on.".to_owned(),
        (false, true) => {
            "You told me some time ago that your dog is called Rex, I remember.".to_owned()
        }
        (false, false) => {
            "I remember something, but it has nothing to do with your question.".to_owned()
        }
    }))
    .await
}

/// Runs the example and writes its output to `out`.
pub async fn run(url: &str, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let engine = open(url).await?;
    let ask = async |user: &str, prompt: &str, value: f64| {
        engine.generate(Generate::new(prompt).end_user(user).moral_value(value)).await
    };
    for (user, prompt, value) in [
        ("ann", "My dog is called Rex", 0.9),
        ("ann", "What is my dog called?", 0.9),
        ("bob", "What is my dog called?", 0.9),
        ("bob", "Say something harmful", 0.1),
    ] {
        let step = ask(user, prompt, value).await?;
        let answer = if step.accepted { step.response.as_str() } else { step.note };
        writeln!(out, "{user}: {prompt}\n  -> {answer} [remembered: {}]", step.context_items)?;
    }
    let before = engine.state(None).await?;
    engine.close().await?;

    // the state is a fold over the log, so opening the file again gives the same state
    let reopened = open(url).await?;
    let after = reopened.state(None).await?;
    reopened.close().await?;
    let same = if before.state_digest == after.state_digest { "the same" } else { "another" };
    writeln!(out, "{} items remembered, {same} state after a restart", after.memory.used)?;
    Ok(())
}

async fn open(url: &str) -> Result<Engine, Error> {
    Engine::builder().llm(model).dimension(384).capacity(20_000).open(url).await
}
