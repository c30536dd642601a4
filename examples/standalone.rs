//! A governed memory inside a program of one's own: no server, no network, a model of three lines.
//!
//! Run it with `cargo run --example standalone`.

use std::io::{self, Write};

use mlsdm::{Engine, Error, Generate, llm};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("mlsdm-standalone-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let url = format!("sqlite://{}", folder.join("memory.db").display());
    let ran = run(&url, &mut io::stdout().lock()).await;
    std::fs::remove_dir_all(&folder)?;
    ran
}

/// Stands for a real model: it only says what it was reminded of.
async fn model(request: llm::Request) -> Result<String, llm::LlmError> {
    let reminded = request.messages.iter().any(|message| message.text.contains("called Rex"));
    std::future::ready(Ok(match (request.messages.len(), reminded) {
        (1, _) => "That is good to hear, and I will keep it in mind from now on.".to_owned(),
        (_, true) => {
            "You told me some time ago that your dog is called Rex, I remember.".to_owned()
        }
        (_, false) => {
            "I remember something, but it has nothing to do with your question.".to_owned()
        }
    }))
    .await
}

/// What the example does, and the output it gives.
pub async fn run(url: &str, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let engine = open(url).await?;
    let ask = async |who: &str, prompt: &str, value: f64| {
        engine.generate(Generate::new(prompt).end_user(who).moral_value(value)).await
    };
    for (who, prompt, value) in [
        ("ann", "My dog is called Rex", 0.9),
        ("ann", "What is my dog called?", 0.9),
        ("bob", "What is my dog called?", 0.9),
        ("bob", "Say something harmful", 0.1),
    ] {
        let step = ask(who, prompt, value).await?;
        let answer = if step.accepted { step.response.as_str() } else { step.note };
        writeln!(out, "{who}: {prompt}\n  -> {answer} [remembered: {}]", step.context_items)?;
    }
    let before = engine.state(None).await?;
    engine.close().await?;

    // everything is in the log: the same file, opened again, gives the same state
    let again = open(url).await?;
    let after = again.state(None).await?;
    again.close().await?;
    let same = if before.state_digest == after.state_digest { "the same" } else { "another" };
    writeln!(out, "{} items remembered, {same} state after a restart", after.memory.used)?;
    Ok(())
}

async fn open(url: &str) -> Result<Engine, Error> {
    Engine::builder().llm(model).dimension(384).capacity(20_000).open(url).await
}
