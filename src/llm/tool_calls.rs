//! The tool calls of an answer that arrives in parts.
//!
//! Servers differ in how they identify a call: an id is reliable, an index only a hint, and a name may
//! come after the id. A call is passed on once it has both, and then named exactly once.

use serde_json::{Map, Value};

use super::{LlmError, ToolCall};

/// Maximum number of tool calls of an answer.
const TOOL_CALLS_MAX: usize = 128;

/// Maximum number of further fields of a tool call. Others are not kept.
const FIELDS_MAX: usize = 16;

/// A part of a tool call, as the provider sends it.
#[derive(Default)]
pub(super) struct CallPart {
    /// The provider's index of the call.
    pub(super) index: Option<usize>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    /// A part of the arguments.
    pub(super) arguments: String,
    /// Further fields of the call.
    pub(super) extra: Map<String, Value>,
}

/// A part of a tool call, as it is passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SentPart {
    /// The index of the call, from 0 without gaps.
    pub(super) index: usize,
    /// The id, in the first part.
    pub(super) id: Option<String>,
    /// The name of the tool, in the first part.
    pub(super) name: Option<String>,
    /// A part of the arguments.
    pub(super) arguments: String,
    /// Further fields of the call.
    pub(super) extra: Map<String, Value>,
}

/// Collects the tool calls of an answer.
#[derive(Default)]
pub(super) struct ToolCalls {
    calls: Vec<ToolCall>,
    tracked: Vec<Tracked>,
}

/// What is known of a call besides its id, name and arguments.
#[derive(Default)]
struct Tracked {
    /// The provider's index.
    index: Option<usize>,
    /// True if the client knows the id and the name.
    is_announced: bool,
    extra: Map<String, Value>,
}

impl ToolCalls {
    /// The calls received so far.
    pub(super) fn as_slice(&self) -> &[ToolCall] {
        &self.calls
    }

    /// The further fields of a call.
    pub(super) fn extra(&self, index: usize) -> Option<&Map<String, Value>> {
        self.tracked.get(index).map(|tracked| &tracked.extra)
    }

    pub(super) fn into_vec(self) -> Vec<ToolCall> {
        self.calls
    }

    /// Adds a part. Returns what can be passed on: nothing until the id and the name are known.
    ///
    /// # Errors
    /// [`LlmError::Malformed`] if there are too many calls.
    pub(super) fn push(&mut self, part: CallPart) -> Result<Option<SentPart>, LlmError> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let part = CallPart { id: given(part.id), name: given(part.name), ..part };
        let at = match self.find(&part) {
            Some(at) => at,
            None if self.calls.len() >= TOOL_CALLS_MAX => {
                return Err(LlmError::Malformed { what: "too many tool calls" });
            }
            None => self.begin(part.index),
        };
        let (Some(call), Some(tracked)) = (self.calls.get_mut(at), self.tracked.get_mut(at)) else {
            return Ok(None);
        };
        if let Some(id) = part.id {
            call.id = id;
        }
        if let Some(name) = part.name
            && call.name.is_empty()
        {
            call.name = name;
        }
        call.arguments.push_str(&part.arguments);
        for (name, value) in &part.extra {
            if tracked.extra.len() < FIELDS_MAX || tracked.extra.contains_key(name) {
                tracked.extra.insert(name.clone(), value.clone());
            }
        }
        if tracked.is_announced {
            let CallPart { arguments, extra, .. } = part;
            return Ok(Some(SentPart { index: at, id: None, name: None, arguments, extra }));
        }
        let is_known = !call.id.is_empty() && !call.name.is_empty();
        Ok(is_known.then(|| announce(at, call, tracked)))
    }

    /// Ends the calls. Returns those that were held back; a call without an id gets one.
    pub(super) fn end(&mut self) -> Vec<SentPart> {
        let calls = self.calls.iter_mut().zip(&mut self.tracked).enumerate();
        let held = calls.filter(|(_, (_, tracked))| !tracked.is_announced);
        held.map(|(at, (call, tracked))| {
            if call.id.is_empty() {
                call.id = format!("call_{:08x}{at:02x}", crate::ids::random_bits());
            }
            announce(at, call, tracked)
        })
        .collect()
    }

    /// The index of the call that the part belongs to; `None` if it begins a call.
    fn find(&self, part: &CallPart) -> Option<usize> {
        let hinted = match part.index {
            Some(index) => self.tracked.iter().rposition(|tracked| tracked.index == Some(index)),
            None => self.calls.len().checked_sub(1),
        };
        if let Some(id) = &part.id {
            let known = self.calls.iter().rposition(|call| call.id == *id);
            return known.or_else(|| hinted.filter(|at| self.lacks_id(*at, part)));
        }
        let is_other = |at: usize| match (&part.name, self.calls.get(at)) {
            // a server without ids repeats neither the index nor the name of a call that has begun
            (Some(name), Some(call)) if !call.name.is_empty() => {
                part.index.is_none() || *name != call.name
            }
            _ => false,
        };
        hinted.filter(|at| !is_other(*at))
    }

    /// True if the part brings the id of a call that began without one.
    fn lacks_id(&self, at: usize, part: &CallPart) -> bool {
        self.calls
            .get(at)
            .is_some_and(|call| call.id.is_empty() && (part.name.is_none() || call.name.is_empty()))
    }

    fn begin(&mut self, index: Option<usize>) -> usize {
        let (id, name, arguments) = (String::new(), String::new(), String::new());
        self.calls.push(ToolCall { id, name, arguments });
        self.tracked.push(Tracked { index, ..Tracked::default() });
        self.calls.len() - 1
    }
}

/// The first part of a call that is passed on.
fn announce(index: usize, call: &ToolCall, tracked: &mut Tracked) -> SentPart {
    tracked.is_announced = true;
    SentPart {
        index,
        id: Some(call.id.clone()),
        name: Some(call.name.clone()),
        arguments: call.arguments.clone(),
        extra: tracked.extra.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: Option<usize>, id: &str, name: &str, arguments: &str) -> CallPart {
        let given = |text: &str| Some(text.to_owned());
        let (id, name, arguments) = (given(id), given(name), arguments.to_owned());
        CallPart { index, id, name, arguments, extra: Map::new() }
    }

    /// The calls, and per part sent on: the index, the name and the arguments.
    fn collect(parts: Vec<CallPart>) -> (Vec<(String, String, String)>, Vec<String>) {
        let mut calls = ToolCalls::default();
        let mut sent = Vec::new();
        for part in parts {
            sent.extend(calls.push(part).unwrap());
        }
        sent.extend(calls.end());
        let shown = |part: SentPart| {
            format!("{} {} {}", part.index, part.name.unwrap_or_default(), part.arguments)
        };
        let triple = |call: ToolCall| (call.id, call.name, call.arguments);
        (calls.into_vec().into_iter().map(triple).collect(), sent.into_iter().map(shown).collect())
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn a_new_id_is_a_new_call_whatever_the_index() {
        for index in [None, Some(0)] {
            let (calls, sent) = collect(vec![
                part(index, "c1", "a", "{}"),
                part(index, "c2", "b", "{"),
                part(index, "", "", "}"),
            ]);
            assert_eq!(calls, [call("c1", "a", "{}"), call("c2", "b", "{}")]);
            assert_eq!(sent, ["0 a {}", "1 b {", "1  }"]);
        }
    }

    #[test]
    fn indices_that_are_not_dense_become_dense() {
        let (calls, sent) = collect(vec![
            part(Some(3), "c1", "a", ""),
            part(Some(7), "c2", "b", "[]"),
            part(Some(3), "", "", "{}"),
        ]);
        assert_eq!(calls, [call("c1", "a", "{}"), call("c2", "b", "[]")]);
        assert_eq!(sent, ["0 a ", "1 b []", "0  {}"]);
    }

    #[test]
    fn a_call_is_named_once_when_its_name_or_id_comes_late() {
        let (calls, sent) = collect(vec![
            part(Some(0), "c1", "", ""),
            part(Some(0), "c1", "a", "{"),
            part(Some(0), "c1", "a", "}"),
        ]);
        assert_eq!(
            (calls, sent),
            (vec![call("c1", "a", "{}")], vec!["0 a {".into(), "0  }".into()])
        );
        let (calls, sent) =
            collect(vec![part(Some(0), "", "a", "{"), part(Some(0), "c1", "", "}")]);
        assert_eq!((calls, sent), (vec![call("c1", "a", "{}")], vec!["0 a {}".into()]));
    }

    #[test]
    fn calls_without_ids_are_told_apart_by_index_and_name_and_get_ids() {
        let (calls, _) = collect(vec![
            part(None, "", "a", "{}"),
            part(None, "", "b", "{}"),
            part(None, "", "b", "[]"),
        ]);
        let names: Vec<&str> = calls.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "b"]);
        assert!(calls.iter().all(|(id, ..)| id.starts_with("call_")));
        let (calls, _) = collect(vec![part(Some(0), "", "a", "{"), part(Some(0), "", "a", "}")]);
        assert_eq!(calls.len(), 1, "a repeated name with the same index continues the call");
    }

    #[test]
    fn the_number_of_calls_is_limited() {
        let mut calls = ToolCalls::default();
        for n in 0..TOOL_CALLS_MAX {
            calls.push(part(None, &format!("c{n}"), "a", "")).unwrap();
        }
        assert!(matches!(calls.push(part(None, "x", "a", "")), Err(LlmError::Malformed { .. })));
    }
}
