//! For every valid conversation, the request that leaves is valid; without memory it is the request
//! that came, byte for byte.

mod conversation;

use std::collections::BTreeMap;

use mlsdm::testkit::{
    http_client, send,
    strict::{Face, Received, echo},
};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, value::RawValue};

use crate::{
    extended,
    gateway::{Backend, Gateway},
};
use conversation::{Conversation, conversation};

/// Fields in which the request that leaves may differ: the server asks for a stream whenever it can, and
/// lets no provider store responses.
const OWN: [&str; 3] = ["stream", "stream_options", "store"];

type Fields = BTreeMap<String, Box<RawValue>>;

/// The fields of a body as JSON texts; of lists, the texts of their elements.
fn fields(body: &[u8]) -> BTreeMap<String, Vec<String>> {
    let fields: Fields = serde_json::from_slice(body).unwrap();
    let fields = fields.into_iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
    let texts = |value: Box<RawValue>| {
        let elements: Vec<Box<RawValue>> =
            serde_json::from_str(value.get()).unwrap_or_else(|_| vec![value]);
        elements.iter().map(|element| element.get().to_owned()).collect()
    };
    fields.map(|(name, value)| (name, texts(value))).collect()
}

/// The policy limits an answer whose caller names no limit and offers no tools.
fn without_limit_of_policy(
    mut left: BTreeMap<String, Vec<String>>,
    came: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Vec<String>> {
    let limits = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    let named = limits.iter().any(|name| came.contains_key(*name));
    if !named && !came.contains_key("tools") {
        for name in limits {
            left.remove(name);
        }
    }
    left
}

/// Sends a conversation; gives the body and the request that reached the provider.
async fn pass(
    gateway: &Gateway,
    face: Face,
    asked: &Conversation,
) -> Result<(String, Received), TestCaseError> {
    let (path, model) = match face {
        Face::Chat => ("chat/completions", "gpt-4.1"),
        Face::Messages => ("messages", "claude-3-7-sonnet"),
        Face::Responses => ("responses", "gpt-4.1"),
    };
    let body = asked.body(face, model);
    let before = gateway.provider.calls().len();
    let request = http_client()
        .post(format!("{}/v1/{path}", gateway.server.base()))
        .header("content-type", "application/json")
        .header("anthropic-version", "2023-06-01")
        .body(body.clone());
    let reply = send(request).await.unwrap();
    let calls = gateway.provider.calls();
    let refused = calls.last().and_then(|call| call.refused.clone());
    if reply.status != 200 || refused.is_some() || calls.len() != before + 1 {
        let sent = calls.last().map(|call| String::from_utf8_lossy(&call.body).into_owned());
        let why = format!("{refused:?} {reply:?}\ncame: {body}\nleft: {sent:?}");
        return Err(TestCaseError::fail(why));
    }
    Ok((body, calls.last().cloned().unwrap()))
}

/// The texts that the user wrote last, and whether a part of the request is in the one that left.
fn keeps_the_conversation(came: &str, left: &Received) -> Result<(), TestCaseError> {
    let came: Value = serde_json::from_str(came).unwrap();
    let left = left.json();
    let name = if came["input"].is_array() { "input" } else { "messages" };
    let (came, left) = (came[name].as_array().unwrap(), left[name].as_array().unwrap());
    if came.len() != left.len() {
        return Err(TestCaseError::fail("the number of messages differs"));
    }
    let roles = |messages: &[Value]| -> Vec<Value> {
        messages.iter().map(|message| message["role"].clone()).collect()
    };
    if roles(came) == roles(left) { Ok(()) } else { Err(TestCaseError::fail("the roles differ")) }
}

async fn every_conversation_passes(face: Face, backend: Backend) {
    // no phase of sleep, in which answers without a limit are short
    let awake = ("MLSDM_SLEEP_DURATION", "0");
    let mode = "MLSDM__MLSDM__POLICY__MEMORY__MODE";
    let full = Gateway::new(backend, echo(), &[awake, (mode, "full")]).await;
    let off = Gateway::new(backend, echo(), &[awake, (mode, "off")]).await;
    let cases = if extended() { 1000 } else { 12 };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let handle = tokio::runtime::Handle::current();
    let run = move || {
        TestRunner::new(config).run(&conversation(), |asked| {
            handle.block_on(async {
                let (came, left) = pass(&off, face, &asked).await?;
                let (came, left) = (fields(came.as_bytes()), fields(&left.body));
                let left = without_limit_of_policy(left, &came);
                if came != left {
                    return Err(TestCaseError::fail(format!("came: {came:?}\nleft: {left:?}")));
                }
                let (came, left) = pass(&full, face, &asked).await?;
                keeps_the_conversation(&came, &left)
            })
        })
    };
    let result = tokio::task::spawn_blocking(run).await.unwrap();
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_chat_passes_as_it_came() {
    every_conversation_passes(Face::Chat, Backend::OpenAi).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_passes_as_it_came() {
    every_conversation_passes(Face::Messages, Backend::Anthropic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_passes_as_it_came() {
    every_conversation_passes(Face::Responses, Backend::Responses).await;
}
