//! The output items of a stream, as the pieces of an answer fill them.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    http::{
        stream::named,
        v1::responses::{
            echo::Echo,
            output::{self, ItemIds},
        },
    },
    llm::{ToolCall, custom_input},
};

/// Writes the events of output items, with their numbers.
#[derive(Default)]
pub(super) struct Items {
    ids: ItemIds,
    echo: Echo,
    sequence: u64,
    /// The items, in the order in which they began. Those that are open have no value.
    slots: Vec<Option<Value>>,
    /// The reasoning or the message that is open.
    open: Option<OpenText>,
    /// The number of messages, and of reasonings.
    counts: [usize; 2],
    calls: Vec<OpenCall>,
}

/// What an open item with a text is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TextKind {
    Message,
    Reasoning,
    Refusal,
}

struct OpenText {
    kind: TextKind,
    id: String,
    /// The index of the item.
    at: usize,
    text: String,
    annotations: Vec<Value>,
}

struct OpenCall {
    /// The index of the call among the calls.
    index: usize,
    is_custom: bool,
    id: String,
    at: usize,
    call: ToolCall,
}

impl Items {
    /// No items. The calls of tools have the form of the tools in the request.
    pub(super) fn new(echo: Echo) -> Self {
        Self { echo, ..Self::default() }
    }

    /// Sets the server's id of the request.
    pub(super) fn begin(&mut self, id: &str) {
        self.ids = ItemIds(id.to_owned());
    }

    /// The fields of the request.
    pub(super) const fn echo(&self) -> &Echo {
        &self.echo
    }

    /// True if no item has begun.
    pub(super) const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The number of the next event.
    pub(super) const fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    /// Closes all items.
    pub(super) fn close(&mut self) -> String {
        self.close_text() + &self.close_calls()
    }

    /// Removes the items that are complete.
    pub(super) fn take(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.slots).into_iter().flatten().collect()
    }

    /// A frame with a sequence number.
    pub(super) fn event(&mut self, name: &str, mut data: Value) -> String {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.number());
        named(name, &data)
    }

    /// An event with the response as it is.
    pub(super) fn response(&mut self, name: &'static str, response: &impl Serialize) -> String {
        #[derive(Serialize)]
        struct Event<'a, R> {
            #[serde(rename = "type")]
            kind: &'static str,
            sequence_number: u64,
            response: &'a R,
        }
        let sequence_number = self.number();
        named(name, &Event { kind: name, sequence_number, response })
    }

    /// Begins an item.
    fn add_item(&mut self, item: &Value) -> (usize, String) {
        let at = self.slots.len();
        self.slots.push(None);
        let added = json!({"output_index": at, "item": item});
        (at, self.event("response.output_item.added", added))
    }

    fn end_item(&mut self, at: usize, item: Value) -> String {
        let done = json!({"output_index": at, "item": &item});
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(item);
        }
        self.event("response.output_item.done", done)
    }

    /// A piece of a text, in an item that is opened if it is not open.
    pub(super) fn text(&mut self, kind: TextKind, text: &str) -> String {
        let mut frames = String::new();
        if self.open.as_ref().is_none_or(|open| open.kind != kind) {
            frames.push_str(&self.close_text());
            frames.push_str(&self.open_text(kind));
        }
        let Some(open) = &mut self.open else { return frames };
        open.text.push_str(text);
        let mut data = json!({"item_id": open.id, "output_index": open.at, "delta": text});
        let name = match kind {
            TextKind::Message => {
                data["content_index"] = json!(0);
                data["logprobs"] = json!([]);
                "response.output_text.delta"
            }
            TextKind::Refusal => {
                data["content_index"] = json!(0);
                "response.refusal.delta"
            }
            TextKind::Reasoning => {
                data["summary_index"] = json!(0);
                "response.reasoning_summary_text.delta"
            }
        };
        frames + &self.event(name, data)
    }

    fn open_text(&mut self, kind: TextKind) -> String {
        let is_reasoning = kind == TextKind::Reasoning;
        let [messages, reasonings] = self.counts;
        let (id, item) = if is_reasoning {
            self.counts[1] += 1;
            let id = self.ids.reasoning(reasonings);
            (id.clone(), json!({"id": id, "type": "reasoning", "summary": []}))
        } else {
            self.counts[0] += 1;
            let id = self.ids.message(messages);
            (id.clone(), output::message(&id, "in_progress", &[]))
        };
        let (at, added) = self.add_item(&item);
        let mut data = json!({"item_id": id, "output_index": at, "part": part(kind, "")});
        let name = if is_reasoning {
            data["summary_index"] = json!(0);
            "response.reasoning_summary_part.added"
        } else {
            data["content_index"] = json!(0);
            "response.content_part.added"
        };
        self.open = Some(OpenText { kind, id, at, text: String::new(), annotations: Vec::new() });
        added + &self.event(name, data)
    }

    /// Adds the sources of the open message; without one, they are lost, and there are no events.
    pub(super) fn annotate(&mut self, annotations: Vec<Value>) -> Option<String> {
        let open = self.open.as_mut().filter(|open| open.kind == TextKind::Message)?;
        open.annotations.clone_from(&annotations);
        let (id, at) = (open.id.clone(), open.at);
        let event = |(index, annotation): (usize, Value)| {
            let data = json!({
                "item_id": id, "output_index": at, "content_index": 0, "annotation_index": index,
                "annotation": annotation,
            });
            self.event("response.output_text.annotation.added", data)
        };
        Some(annotations.into_iter().enumerate().map(event).collect())
    }

    /// Closes the open text, if there is one.
    pub(super) fn close_text(&mut self) -> String {
        let Some(OpenText { kind, id, at, text, annotations }) = self.open.take() else {
            return String::new();
        };
        let mut part = part(kind, &text);
        if kind == TextKind::Message {
            part = output::annotated(part, &annotations);
        }
        let mut done = json!({"item_id": id, "output_index": at});
        let mut ended = json!({"item_id": id, "output_index": at, "part": &part});
        let (names, item) = match kind {
            TextKind::Reasoning => {
                done["text"] = json!(text);
                let names = [
                    "response.reasoning_summary_text.done",
                    "response.reasoning_summary_part.done",
                ];
                (names, output::reasoning(&id, &text))
            }
            TextKind::Message => {
                done["text"] = json!(text);
                done["logprobs"] = json!([]);
                let names = ["response.output_text.done", "response.content_part.done"];
                (names, output::message(&id, "completed", &[part]))
            }
            TextKind::Refusal => {
                done["refusal"] = json!(text);
                let names = ["response.refusal.done", "response.content_part.done"];
                (names, output::message(&id, "completed", &[part]))
            }
        };
        let index = if kind == TextKind::Reasoning { "summary_index" } else { "content_index" };
        done[index] = json!(0);
        ended[index] = json!(0);
        let frames = self.event(names[0], done) + &self.event(names[1], ended);
        frames + &self.end_item(at, item)
    }

    /// A part of a call.
    pub(super) fn tool_call(
        &mut self,
        index: usize,
        id: Option<&String>,
        name: Option<&String>,
        arguments: &str,
    ) -> String {
        let mut frames = self.close_text();
        if !self.calls.iter().any(|open| open.index == index) {
            let call = ToolCall {
                id: id.cloned().unwrap_or_default(),
                name: name.cloned().unwrap_or_default(),
                arguments: String::new(),
            };
            let is_custom = self.echo.is_custom(&call.name);
            let id = self.ids.call(index, is_custom);
            let item = output::tool_call(&id, &call, &self.echo, "in_progress");
            let (at, added) = self.add_item(&item);
            frames.push_str(&added);
            self.calls.push(OpenCall { index, is_custom, id, at, call });
        }
        let Some(open) = self.calls.iter_mut().find(|open| open.index == index) else {
            return frames;
        };
        open.call.arguments.push_str(arguments);
        // the text of a custom tool is known when its arguments are complete
        if open.is_custom || arguments.is_empty() {
            return frames;
        }
        let delta = json!({"item_id": open.id, "output_index": open.at, "delta": arguments});
        frames + &self.event("response.function_call_arguments.delta", delta)
    }

    fn close_calls(&mut self) -> String {
        let mut frames = String::new();
        for OpenCall { is_custom, id, at, call, .. } in std::mem::take(&mut self.calls) {
            let mut data = json!({"item_id": id, "output_index": at});
            if is_custom {
                let input = custom_input(&call.arguments);
                data["delta"] = json!(input);
                frames.push_str(&self.event("response.custom_tool_call_input.delta", data.clone()));
                data["delta"].take();
                data["input"] = json!(input);
                frames.push_str(&self.event("response.custom_tool_call_input.done", data));
            } else {
                data["name"] = json!(call.name);
                data["arguments"] = json!(call.arguments);
                frames.push_str(&self.event("response.function_call_arguments.done", data));
            }
            let item = output::tool_call(&id, &call, &self.echo, "completed");
            frames.push_str(&self.end_item(at, item));
        }
        frames
    }
}

fn part(kind: TextKind, text: &str) -> Value {
    match kind {
        TextKind::Message => output::text_part(text),
        TextKind::Refusal => json!({"type": "refusal", "refusal": text}),
        TextKind::Reasoning => json!({"type": "summary_text", "text": text}),
    }
}
