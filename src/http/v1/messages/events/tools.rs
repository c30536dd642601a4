//! The order of tool calls that arrive in parallel: in this dialect one block ends before the next
//! begins.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

/// The calls of an answer, one of which is open.
#[derive(Default)]
pub(super) struct ToolQueue {
    /// The index and the arguments of the open call.
    open: Option<(usize, String)>,
    waiting: BTreeMap<usize, ToolPart>,
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
            Some((index, arguments)) if *index == part.index => {
                arguments.push_str(&part.arguments);
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
        while !self.waiting.is_empty() && self.open.as_ref().is_none_or(|(_, text)| is_json(text)) {
            let Some((index, part)) = self.waiting.pop_first() else { break };
            self.open = Some((index, part.arguments.clone()));
            parts.push(part);
        }
        parts
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
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
    fn the_end_writes_what_waits_for_a_call_that_never_completes() {
        let mut queue = ToolQueue::default();
        queue.push(part(0, "{"));
        queue.push(part(1, "{}"));
        assert_eq!(queue.end(), [part(1, "{}")]);
    }
}
