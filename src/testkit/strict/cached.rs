//! The prompt cache of a provider: the longest prefix of blocks that an earlier request had.

use std::collections::HashSet;

use serde_json::Value;

use super::{Answer, Face, asked::list};

/// Tokens of a request and of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
    pub(super) reasoning: u64,
}

/// Hashes of all prefixes of all requests so far.
#[derive(Default)]
pub(super) struct Prefixes(HashSet<u64>);

impl Prefixes {
    /// Counts a request and adds its prefixes.
    pub(super) fn usage(&mut self, face: Face, body: &Value, answer: &Answer) -> Usage {
        let (mut input, mut cached, mut hash, mut hits) = (0, 0, 0xcbf2_9ce4_8422_2325, true);
        for block in blocks(face, body) {
            hash = block.bytes().fold(hash, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            let tokens = tokens(&block);
            input += tokens;
            hits = !self.0.insert(hash) && hits;
            if hits {
                cached += tokens;
            }
        }
        let calls = answer.calls.iter().map(|call| tokens(&call.arguments.to_string()) + 8);
        let reasoning = answer.thinking.as_deref().map_or(0, tokens);
        let output = tokens(&answer.text) + calls.sum::<u64>() + reasoning;
        Usage { input, cached, output, reasoning }
    }
}

/// The estimate of a token: four bytes.
pub(super) fn tokens(text: &str) -> u64 {
    text.len() as u64 / 4 + 1
}

/// The blocks of a request in the order in which providers cache them: model, tools, system text
/// and the parts of the messages. Markers of the cache are not content.
pub(super) fn blocks(face: Face, body: &Value) -> Vec<String> {
    let mut blocks = vec![body["model"].to_string()];
    blocks.extend(list(&body["tools"]).iter().map(Value::to_string));
    let system = if face == Face::Responses { &body["instructions"] } else { &body["system"] };
    push(system, &mut blocks);
    let items = if face == Face::Responses { &body["input"] } else { &body["messages"] };
    for item in list(items) {
        let mut head = item.clone();
        if let Some(head) = head.as_object_mut() {
            head.remove("content");
            head.remove("id");
        }
        blocks.push(head.to_string());
        push(&item["content"], &mut blocks);
    }
    if let Some(text) = items.as_str() {
        blocks.push(text.to_owned());
    }
    blocks
}

fn push(content: &Value, blocks: &mut Vec<String>) {
    for part in list(content) {
        let mut part = part.clone();
        if let Some(part) = part.as_object_mut() {
            part.remove("cache_control");
        }
        // a part of text is the same content as a string
        let alone = part.as_object().is_some_and(|part| part.len() == 2);
        let text = part["text"].as_str().filter(|_| alone).map(str::to_owned);
        blocks.push(text.unwrap_or_else(|| part.to_string()));
    }
    if let Some(text) = content.as_str() {
        blocks.push(text.to_owned());
    }
}
