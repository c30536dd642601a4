//! An agent of twenty turns with parallel tools: interrupted by itself and by a crash of the server,
//! resumed, and replayed from the log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mlsdm::testkit::{
    TestDatabase, TestServer, http_client,
    strict::{Answer, Asked, Face, Provider, Reply, Script},
};
use serde_json::{Value, json};

use crate::gateway::{Backend, Gateway, env};

const TURNS: usize = 20;

/// The turn in which the agent closes its connection, and the one in which the server is killed.
const LEAVES: usize = 6;
const CRASHES: usize = 13;

/// Two calls in each turn, then a text. The answer of an interrupted turn stalls at first.
fn script(interrupted: bool) -> Script {
    let stalls = [LEAVES, CRASHES].map(|turn| (turn, AtomicBool::new(interrupted)));
    Arc::new(move |asked: &Asked<'_>| {
        let turn = asked.turn;
        if turn >= TURNS {
            return Reply::Answer(Answer::text("All twenty turns are done."));
        }
        let call = |city: &str| ("weather", json!({ "city": city, "turn": turn }));
        let answer = Answer::calls([call("Rome"), call("Oslo")]).saying(format!("Turn {turn}"));
        let stall = stalls.iter().find(|(at, _)| *at == turn);
        if stall.is_some_and(|(_, first)| first.swap(false, Ordering::SeqCst)) {
            return Reply::Stall(answer);
        }
        Reply::Answer(answer)
    })
}

/// An agent with its conversation.
struct Agent {
    face: Face,
    history: Vec<Value>,
}

impl Agent {
    fn new(face: Face) -> Self {
        Self { face, history: vec![json!({"role": "user", "content": "How is the weather?"})] }
    }

    fn request(&self, base: &str) -> reqwest::RequestBuilder {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let (path, body) = match self.face {
            Face::Messages => {
                let tool = json!({"name": "weather", "input_schema": schema});
                let body = json!({"model": "claude-3-7-sonnet", "max_tokens": 4000,
                    "messages": self.history, "tools": [tool], "stream": true});
                ("messages", body)
            }
            Face::Chat | Face::Responses => {
                let tool = json!({"type": "function",
                    "function": {"name": "weather", "parameters": schema}});
                let body = json!({"model": "gpt-4.1", "messages": self.history, "tools": [tool],
                    "stream": true});
                ("chat/completions", body)
            }
        };
        let request = http_client().post(format!("{base}/v1/{path}"));
        let request = request.header("authorization", "Bearer k");
        request.header("anthropic-version", "2023-06-01").json(&body)
    }

    /// Sends the conversation and closes the connection after the first bytes of the answer.
    async fn leaves(&self, base: &str) {
        let mut response = self.request(base).send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
    }

    /// One turn: an answer, and the results of its calls. False if the answer calls nothing.
    async fn turn(&mut self, base: &str) -> bool {
        let response = self.request(base).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> =
            events.filter_map(|data| serde_json::from_str(data).ok()).collect();
        let (answer, calls) = match self.face {
            Face::Messages => message(&events),
            Face::Chat | Face::Responses => completion(&events),
        };
        self.history.push(answer);
        if calls.is_empty() {
            return false;
        }
        let results = calls.iter().map(|(id, arguments)| {
            (id, format!("Sunny in {} in turn {}", arguments["city"], arguments["turn"]))
        });
        if self.face == Face::Messages {
            let results = results.map(
                |(id, text)| json!({"type": "tool_result", "tool_use_id": id, "content": text}),
            );
            let results: Vec<Value> = results.collect();
            self.history.push(json!({"role": "user", "content": results}));
        } else {
            self.history
                .extend(results.map(
                    |(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text}),
                ));
        }
        true
    }

    async fn runs_to_its_end(mut self, base: &str) -> Vec<Value> {
        while self.turn(base).await {}
        self.history
    }
}

type Calls = Vec<(String, Value)>;

/// The message and the calls of the chunks of a completion.
fn completion(chunks: &[Value]) -> (Value, Calls) {
    let (mut content, mut calls) = (String::new(), Vec::<[String; 3]>::new());
    for delta in chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]) {
        content += delta["content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap() as usize;
            calls.resize(calls.len().max(index + 1), Default::default());
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let fields = [&call["id"], &call["function"]["name"], &call["function"]["arguments"]];
            for (known, more) in calls[index].iter_mut().zip(fields) {
                *known += &text(more);
            }
        }
    }
    let mut message = json!({"role": "assistant", "content": content});
    let mut parsed = Calls::new();
    for [id, name, arguments] in calls {
        parsed.push((id.clone(), serde_json::from_str(&arguments).unwrap()));
        let call = json!({"id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}});
        match message["tool_calls"].as_array_mut() {
            Some(calls) => calls.push(call),
            None => message["tool_calls"] = json!([call]),
        }
    }
    (message, parsed)
}

/// The message and the calls of the events of a message.
fn message(events: &[Value]) -> (Value, Calls) {
    let (mut blocks, mut inputs) = (Vec::<Value>::new(), Vec::<String>::new());
    for event in events {
        let index = event["index"].as_u64().unwrap_or_default() as usize;
        if event["type"] == "content_block_start" {
            assert_eq!(index, blocks.len());
            blocks.push(event["content_block"].clone());
            inputs.push(String::new());
        }
        let delta = &event["delta"];
        if let Some(text) = delta["text"].as_str() {
            let known = blocks[index]["text"].as_str().unwrap_or_default();
            blocks[index]["text"] = format!("{known}{text}").into();
        }
        inputs.get_mut(index).into_iter().for_each(|input| {
            *input += delta["partial_json"].as_str().unwrap_or_default();
        });
    }
    let mut calls = Calls::new();
    for (block, input) in blocks.iter_mut().zip(inputs) {
        if block["type"] == "tool_use" {
            block["input"] = serde_json::from_str(&input).unwrap();
            calls.push((block["id"].as_str().unwrap().to_owned(), block["input"].clone()));
        }
    }
    (json!({"role": "assistant", "content": blocks}), calls)
}

/// Asserts that the state equals a replay of the log, and that the log is intact.
async fn equals_replay(server: &TestServer, env: &mlsdm::testkit::TestEnv) {
    let state = server.until_closed("default").await;
    let replay = env.run(&["replay", "--engine", "default", "--json"]).await.exits(0).json();
    for field in ["position", "state_digest", "chain_hash"] {
        assert_eq!(replay[field], state[field], "{field}: {replay}");
    }
    env.run(&["replay", "--engine", "default", "--verify"]).await.exits(0);
    env.run(&["audit", "verify"]).await.exits(0);
}

async fn survives(face: Face, backend: Backend) {
    let expected = Agent::new(face).runs_to_its_end(&Provider::new(script(false)).await.url).await;

    let provider = Provider::new(script(true)).await;
    let database = TestDatabase::sqlite();
    let env = env(&database, &provider, backend);
    let mut server = env.serve().await;
    let mut agent = Agent::new(face);
    for turn in 0.. {
        if turn == LEAVES {
            agent.leaves(server.base()).await;
            // the call is cancelled, so that the next attempt does not find an open step
            server.until_closed("default").await;
        }
        if turn == CRASHES {
            agent.leaves(server.base()).await;
            server.kill().await;
            server = env.serve().await;
        }
        if !agent.turn(server.base()).await {
            break;
        }
    }
    assert_eq!(agent.history, expected);
    assert_eq!(provider.refused(), Vec::<String>::new());
    assert_eq!(provider.calls().len(), TURNS + 1 + 2, "one call a turn, and two that were cut");
    equals_replay(&server, &env).await;
    server.stop().await;

    // the log answers the same agent again, without a provider
    let other = TestDatabase::sqlite();
    let replaying = mlsdm::testkit::TestEnv::new(other.url())
        .with("LLM_BACKEND", "replay")
        .with("MLSDM__LLM__REPLAY__DATABASE", database.url());
    let server = replaying.serve().await;
    assert_eq!(Agent::new(face).runs_to_its_end(server.base()).await, expected);
    equals_replay(&server, &replaying).await;
    server.stop().await;
}

#[tokio::test]
async fn an_agent_of_chat_completions_survives_interruptions() {
    survives(Face::Chat, Backend::OpenAi).await;
}

#[tokio::test]
async fn an_agent_of_messages_survives_interruptions() {
    survives(Face::Messages, Backend::Anthropic).await;
}

/// A long document at the beginning of a conversation: what a provider keeps in its cache.
const DOCUMENT_WORDS: usize = 5_000;

/// What the memory knows before the agent begins.
const KNOWN: [&str; 3] = [
    "How is the weather in Rome in May? It is sunny and warm",
    "How is the weather in Oslo in May? It is cold and clear",
    "How is the weather in Bern in May? It is mild and wet",
];

/// The tokens that the provider took from its cache, in two prompts with a loop of twenty turns
/// between them.
async fn cached_tokens(face: Face, backend: Backend, memory: &str) -> u64 {
    let turns = script(false);
    let script: Script = Arc::new(move |asked: &Asked<'_>| {
        if asked.tools().is_empty() {
            return Reply::Answer(Answer::text(
                "It is good weather, and it will stay so for days.",
            ));
        }
        turns(asked)
    });
    let mode = [("MLSDM__MLSDM__POLICY__MEMORY__MODE", memory)];
    let gateway = Gateway::new(backend, script, &mode).await;
    let base = gateway.server.base();
    for fact in KNOWN {
        let body = json!({"model": "default", "max_tokens": 99, "messages": [
            {"role": "user", "content": fact}
        ]});
        let path = if face == Face::Messages { "messages" } else { "chat/completions" };
        let known = http_client().post(format!("{base}/v1/{path}")).json(&body).send().await;
        assert_eq!(known.unwrap().status(), 200);
    }
    let mut agent = Agent::new(face);
    let document = "The river runs through the valley. ".repeat(DOCUMENT_WORDS / 6);
    let begins = [
        json!({"role": "user", "content": document}),
        json!({"role": "assistant", "content": "I have read it."}),
    ];
    agent.history.splice(..0, begins);
    while agent.turn(base).await {}
    agent.history.push(json!({"role": "user", "content": "And how is the weather in May?"}));
    while agent.turn(base).await {}
    let completed = gateway.events("step.completed").await;
    let used = |event: &Value| event["clear"]["context"]["used"].as_array().unwrap().len();
    let with_context = completed.iter().filter(|event| used(event) > 0).count();
    assert_eq!(with_context >= TURNS, memory != "off", "{with_context} steps with context");
    gateway.is_consistent().await;
    let tokens = completed
        .iter()
        .skip(KNOWN.len())
        .map(|event| event["clear"]["usage"]["cached_tokens"].as_u64().unwrap_or_default());
    let tokens = tokens.sum();
    gateway.server.stop().await;
    tokens
}

async fn caches_nearly_as_much_with_memory(face: Face, backend: Backend) {
    let without = cached_tokens(face, backend, "off").await;
    let with = cached_tokens(face, backend, "full").await;
    assert!(without > 100_000, "{without}");
    assert!(with * 10 >= without * 9, "{with} with memory, {without} without");
}

#[tokio::test]
async fn the_memory_leaves_the_cache_of_chat_completions_to_an_agent() {
    caches_nearly_as_much_with_memory(Face::Chat, Backend::OpenAi).await;
}

#[tokio::test]
async fn the_memory_leaves_the_cache_of_messages_to_an_agent() {
    caches_nearly_as_much_with_memory(Face::Messages, Backend::Anthropic).await;
}
