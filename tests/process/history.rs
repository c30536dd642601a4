//! The log of an engine as callers read it, and the invariants of every log.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use mlsdm::testkit::{TestEnv, TestServer};

use crate::load::SentRequest;

/// The largest page size.
const PAGE: usize = 500;

/// All events of an engine.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) events: Vec<Value>,
}

/// The events of one step.
#[derive(Debug, Default)]
struct Step<'a> {
    first: Vec<&'a Value>,
    endings: Vec<&'a Value>,
}

impl History {
    /// Reads the log up to its current end, page by page.
    pub(crate) async fn read(server: &TestServer, engine: &str) -> Self {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events.last().map_or(0, position);
            let path = format!("/v1/engines/{engine}/events?after={after}&limit={PAGE}");
            let mut page = server.read(&path).await;
            let more = page["events"].as_array_mut().map(std::mem::take).unwrap();
            let at_end = more.len() < PAGE;
            events.extend(more);
            if at_end {
                return Self { events };
            }
        }
    }

    /// The events of a type.
    pub(crate) fn of(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["type"] == kind).collect()
    }

    /// The event at a position.
    pub(crate) fn at(&self, position: u64) -> &Value {
        &self.events[position as usize - 1]
    }

    fn steps(&self) -> BTreeMap<u64, Step<'_>> {
        let mut steps: BTreeMap<u64, Step<'_>> = BTreeMap::new();
        for event in &self.events {
            let Some(number) = event["step"].as_u64() else { continue };
            let step = steps.entry(number).or_default();
            match event["type"].as_str().unwrap() {
                "step.admitted" => step.first.push(event),
                "step.rejected" => {
                    step.first.push(event);
                    step.endings.push(event);
                }
                "step.completed" | "step.failed" => step.endings.push(event),
                _ => {}
            }
        }
        steps
    }

    /// Asserts the invariants of a log without open steps: positions and steps are gapless, each
    /// step begins once and ends once, and each request has one step.
    #[track_caller]
    pub(crate) fn is_whole(&self) {
        let positions: Vec<u64> = self.events.iter().map(position).collect();
        let expected: Vec<u64> = (1..=self.events.len() as u64).collect();
        assert_eq!(positions, expected, "positions are gapless");
        let mut by_request: HashMap<&str, u64> = HashMap::new();
        for (index, (number, step)) in self.steps().iter().enumerate() {
            assert_eq!(*number, index as u64 + 1, "steps are numbered without gaps");
            assert_eq!(step.first.len(), 1, "step {number} begins once: {step:?}");
            assert_eq!(step.endings.len(), 1, "step {number} ends once: {step:?}");
            let request = step.first[0]["request_id"].as_str().unwrap();
            let other = by_request.insert(request, *number);
            assert_eq!(other, None, "request {request} is also step {number}");
        }
    }

    /// Asserts that every answer is recorded with the same receipt.
    #[track_caller]
    pub(crate) fn holds(&self, seen: &[SentRequest]) {
        for one in seen {
            let Some(answer) = one.answer() else { continue };
            let event = self.at(answer["position"].as_u64().unwrap());
            let kind = if answer["accepted"] == true { "step.completed" } else { "step.rejected" };
            assert_eq!(event["type"], kind, "{answer}");
            assert_eq!(event["chain_hash"], answer["chain_hash"], "{answer}");
            assert_eq!(event["step"], answer["step"], "{answer}");
            assert_eq!(event["request_id"], answer["id"], "{answer}");
            assert_eq!(answer["request_id"], one.request_id, "{answer}");
        }
    }
}

/// An event's position.
pub(crate) fn position(event: &Value) -> u64 {
    event["position"].as_u64().unwrap()
}

/// Asserts that the state of a server equals a replay of its log. It first waits until no step is
/// open, so that the log does not grow meanwhile.
pub(crate) async fn equals_replay(server: &TestServer, env: &TestEnv, engine: &str) {
    let state = server.until_closed(engine).await;
    let replay = env.run(&["replay", "--engine", engine, "--json"]).await.exits(0).json();
    for field in ["position", "state_digest", "chain_hash"] {
        assert_eq!(replay[field], state[field], "{field}: {replay}");
    }
}

/// Asserts that a replay makes the recorded decisions again and that all hashes match.
pub(crate) async fn verifies(env: &TestEnv, engine: &str) {
    env.run(&["replay", "--engine", engine, "--verify"]).await.exits(0);
    env.run(&["audit", "verify"]).await.exits(0);
}
