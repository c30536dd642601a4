//! Published answers of providers: what an SDK reads through the server equals what it reads from
//! the provider.

use std::{collections::BTreeMap, sync::Arc};

use mlsdm::testkit::strict::{Provider, Reply, Script};
use serde_json::{Map, Value};
use tokio::process::Command;

use crate::gateway::{Backend, Gateway, file, installed};

/// A file of the corpus: its name, the source that documents the form, the API and the bytes.
#[derive(Clone, Debug)]
struct Published {
    name: String,
    source: String,
    dialect: String,
    content_type: String,
    body: String,
}

fn corpus() -> Vec<Published> {
    let mut files: Vec<_> =
        std::fs::read_dir(file("corpus")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| published(path)).collect()
}

fn published(path: &std::path::Path) -> Published {
    let text = std::fs::read_to_string(path).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    Published {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        source: field("source"),
        dialect: field("dialect"),
        content_type: field("content-type"),
        body: body.to_owned(),
    }
}

/// Answers by the file that the model of the request names.
fn script(corpus: &[Published]) -> Script {
    let corpus = corpus.to_vec();
    Arc::new(move |asked| {
        let found = corpus.iter().find(|published| published.name == asked.model()).unwrap();
        let content_type = match found.content_type.as_str() {
            "application/json" => "application/json",
            _ => "text/event-stream",
        };
        let pieces = found.body.split_inclusive("\n\n").map(|piece| piece.as_bytes().to_vec());
        Reply::Raw { content_type, body: pieces.collect() }
    })
}

/// What may differ: `id` and `created` name the step, ids of items too, by which later requests refer
/// to them, and the type of a call is always said.
fn comparable(mut answer: Value) -> Value {
    if let Some(answer) = answer.as_object_mut() {
        for name in ["id", "created", "created_at"] {
            answer.remove(name);
        }
    }
    let items = answer.get_mut("output").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        item.remove("id");
    }
    let calls = answer.pointer_mut("/choices/0/message/tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten().filter(|call| call["type"].is_null()) {
        call["type"] = "function".into();
    }
    answer
}

/// What the SDK reads of these files at an address. `form` is how it asks.
async fn read(
    corpus: &[Published],
    form: impl Fn(&Published) -> &'static str,
    base: &str,
) -> BTreeMap<String, Value> {
    let mut command = Command::new(installed("sdk/venv/bin/python"));
    command.arg(file("python/corpus.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    for published in corpus {
        command.arg(format!("{}:{}:{}", published.dialect, published.name, form(published)));
    }
    command.env("MLSDM_BASE_URL", base).env("NO_PROXY", "127.0.0.1");
    let output = command.output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let read: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    read.into_iter().map(|(name, answer)| (name, comparable(answer))).collect()
}

fn as_published(published: &Published) -> &'static str {
    if published.name.ends_with("-stream") { "stream" } else { "whole" }
}

fn crossed(published: &Published) -> &'static str {
    if published.name.ends_with("-stream") { "whole" } else { "stream" }
}

async fn through(
    corpus: &[Published],
    backend: Backend,
    form: fn(&Published) -> &'static str,
) -> BTreeMap<String, Value> {
    let off = [("MLSDM__MLSDM__POLICY__MEMORY__MODE", "off")];
    let gateway = Gateway::new(backend, script(corpus), &off).await;
    let read = read(corpus, form, gateway.server.base()).await;
    assert_eq!(gateway.provider.refused(), Vec::<String>::new());
    gateway.server.stop().await;
    read
}

fn of(dialect: &str) -> Vec<Published> {
    let corpus = corpus();
    let of: Vec<_> = corpus.into_iter().filter(|file| file.dialect == dialect).collect();
    assert!(of.iter().all(|file| file.source.starts_with("https://")), "{of:?}");
    of
}

/// Compares all files and reports all differences at once.
#[track_caller]
fn equal(direct: &BTreeMap<String, Value>, through: &BTreeMap<String, Value>) {
    let differences: Vec<String> = direct
        .iter()
        .filter(|(name, value)| through[*name] != **value)
        .map(|(name, value)| format!("{name}\n  provider: {value}\n  server:   {}", through[name]))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(direct.values().all(Value::is_object), "the SDK does not read a file: {direct:?}");
}

async fn equals_the_provider(dialect: &str, backend: Backend) {
    let corpus = of(dialect);
    let provider = Provider::new(script(&corpus)).await;
    let direct = read(&corpus, as_published, &provider.url).await;
    equal(&direct, &through(&corpus, backend, as_published).await);
}

#[tokio::test]
async fn published_completions_are_read_as_from_the_provider() {
    equals_the_provider("chat", Backend::OpenAi).await;
}

#[tokio::test]
async fn published_messages_are_read_as_from_the_provider() {
    equals_the_provider("messages", Backend::Anthropic).await;
}

#[tokio::test]
async fn published_responses_are_read_as_from_the_provider() {
    equals_the_provider("responses", Backend::Responses).await;
}

/// The parts that do not depend on whether an answer is streamed.
fn essence(answer: &Value) -> Value {
    let choice = &answer["choices"][0];
    if choice.is_null() {
        if answer.is_string() {
            return answer.clone();
        }
        let fields = ["content", "stop_reason", "stop_sequence", "model"];
        let field = |name: &&str| ((*name).to_owned(), answer[*name].clone());
        return Value::Object(fields.iter().map(field).collect());
    }
    let mut essence = Map::new();
    for name in ["content", "refusal", "reasoning_content", "reasoning", "audio"] {
        // an absent field, null and an empty text mean the same
        let value = &choice["message"][name];
        if !value.is_null() && value != "" {
            essence.insert(name.to_owned(), value.clone());
        }
    }
    let calls = choice["message"]["tool_calls"].as_array().into_iter().flatten();
    let call = |call: &Value| (call["id"].clone(), call["function"].clone());
    let calls: Vec<Value> = calls
        .map(call)
        .map(|(id, function)| serde_json::json!([id, function["name"], function["arguments"]]))
        .collect();
    essence.insert("calls".to_owned(), calls.into());
    essence.insert("finish_reason".to_owned(), choice["finish_reason"].clone());
    essence.insert("model".to_owned(), answer["model"].clone());
    Value::Object(essence)
}

async fn does_not_depend_on_streaming(dialect: &str, backend: Backend) {
    let corpus = of(dialect);
    let provider = Provider::new(script(&corpus)).await;
    let essences = |read: BTreeMap<String, Value>| {
        read.into_iter().map(|(name, answer)| (name, essence(&answer))).collect()
    };
    let direct = essences(read(&corpus, as_published, &provider.url).await);
    equal(&direct, &essences(through(&corpus, backend, crossed).await));
}

#[tokio::test]
async fn a_streamed_completion_is_read_as_a_whole_one_and_back() {
    does_not_depend_on_streaming("chat", Backend::OpenAi).await;
}

#[tokio::test]
async fn a_streamed_message_is_read_as_a_whole_one_and_back() {
    does_not_depend_on_streaming("messages", Backend::Anthropic).await;
}
