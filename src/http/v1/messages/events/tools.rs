//! The order of tool calls that arrive in parallel: in this dialect one block ends before the next
//! begins.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

/// The calls of an answer, one of which is open.
#[derive(Default)]
pub(super) struct ToolQueue {
    open: Option<OpenCall>,
    waiting: BTreeMap<usize, ToolPart>,
}

/// A call whose parts are written as they come.
struct OpenCall {
    index: usize,
    arguments: Arguments,
}

/// The arguments of a call, read once however many parts they come in.
#[derive(Default)]
struct Arguments {
    text: String,
    /// Open objects and lists.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// True for an object or a list that has ended and is no JSON.
    is_malformed: bool,
}

/// A part of a call.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(super) struct ToolPart {
    pub(super) index: usize,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: String,
}

impl ToolQueue {
    /// Takes a part. Returns the parts that can be written, in the order of their blocks.
    pub(super) fn push(&mut self, part: ToolPart) -> Vec<ToolPart> {
        match &mut self.open {
            Some(open) if open.index == part.index => {
                open.arguments.push(&part.arguments);
                let mut parts = vec![part];
                parts.extend(self.advance());
                parts
            }
            _ => {
                let waiting = self
                    .waiting
                    .entry(part.index)
                    .or_insert_with(|| ToolPart { index: part.index, ..ToolPart::default() });
                waiting.id = waiting.id.take().or(part.id);
                waiting.name = waiting.name.take().or(part.name);
                waiting.arguments.push_str(&part.arguments);
                self.advance()
            }
        }
    }

    /// Ends all calls. Returns those that have not been written.
    pub(super) fn end(&mut self) -> Vec<ToolPart> {
        self.open = None;
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Opens waiting calls as long as the open one is complete.
    fn advance(&mut self) -> Vec<ToolPart> {
        let mut parts = Vec::new();
        while !self.waiting.is_empty()
            && self.open.as_mut().is_none_or(|open| open.arguments.are_complete())
        {
            let Some((index, part)) = self.waiting.pop_first() else { break };
            let mut arguments = Arguments::default();
            arguments.push(&part.arguments);
            self.open = Some(OpenCall { index, arguments });
            parts.push(part);
        }
        parts
    }
}

impl Arguments {
    fn push(&mut self, part: &str) {
        self.text.push_str(part);
        for byte in part.bytes() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// True if they are a JSON text. They are parsed only when all that began has ended.
    fn are_complete(&mut self) -> bool {
        if self.depth > 0 || self.in_string || self.is_malformed {
            return false;
        }
        let is_json = serde_json::from_str::<IgnoredAny>(&self.text).is_ok();
        // more text may follow a number, but an object or a list has ended
        self.is_malformed = !is_json && self.text.trim_start().starts_with(['{', '[', '"']);
        is_json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: usize, arguments: &str) -> ToolPart {
        ToolPart { index, arguments: arguments.to_owned(), ..ToolPart::default() }
    }

    #[test]
    fn a_call_begins_when_the_one_before_it_is_complete() {
        let mut queue = ToolQueue::default();
        assert_eq!(queue.push(part(0, "{")), [part(0, "{")]);
        assert_eq!(queue.push(part(1, "[1")), []);
        assert_eq!(queue.push(part(1, "]")), []);
        assert_eq!(queue.push(part(2, "{}")), []);
        assert_eq!(queue.push(part(0, "}")), [part(0, "}"), part(1, "[1]"), part(2, "{}")]);
        assert_eq!(queue.end(), []);
    }

    #[test]
    fn arguments_are_complete_when_all_that_began_has_ended() {
        for (parts, complete) in [
            (&[r#"{"a": "}"#, r#"\"]"#, r#"", "b": [1"#, "]}"][..], true),
            (&[r#"{"a": 1}"#, " "], true),
            (&["{", "}", "}"], false),
            (&["1", "2"], true),
            (&["", ""], false),
            (&["\"x", "\\", "\"", "\""], true),
        ] {
            let mut arguments = Arguments::default();
            let states: Vec<bool> = parts
                .iter()
                .map(|part| {
                    arguments.push(part);
                    arguments.are_complete()
                })
                .collect();
            let expected = serde_json::from_str::<IgnoredAny>(&parts.concat()).is_ok();
            assert_eq!((states.last().copied(), complete), (Some(expected), expected), "{parts:?}");
        }
    }

    #[test]
    fn the_end_writes_what_waits_for_a_call_that_never_completes() {
        let mut queue = ToolQueue::default();
        queue.push(part(0, "{"));
        queue.push(part(1, "{}"));
        assert_eq!(queue.end(), [part(1, "{}")]);
    }
}
