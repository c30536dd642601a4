//! Events of a streamed response.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    echo::Echo,
    output::{self, ItemIds},
    response::{self, ResponseBody},
};
use crate::{
    config::MoralRefusal,
    engine::Answer,
    http::{
        Problem, governance,
        problem::envelope,
        stream::{self, named},
    },
    json::Fields,
    llm::{Delta, Dialect, NativeEvent, ToolCall, custom_input},
};

/// Events of a provider that this server writes itself.
const BEGINNING: [&str; 3] = ["response.created", "response.in_progress", "response.queued"];

/// Writes a stream of the Responses API. The event `response.completed` (or `response.incomplete`) has
/// the governance of the step (`mlsdm`); a stream without it is incomplete.
pub(super) struct Events {
    /// The server's id of the request; set by `begin`.
    id: String,
    ids: ItemIds,
    model: String,
    echo: Echo,
    refusal: MoralRefusal,
    has_begun: bool,
    sequence: u64,
    /// The items, in the order in which they began. Those that are open have no value.
    items: Vec<Option<Value>>,
    /// The reasoning or the message that is open.
    open: Option<OpenText>,
    /// The number of messages, and of reasonings.
    counts: [usize; 2],
    calls: Vec<OpenCall>,
    /// True if the provider's events are passed on.
    is_native: bool,
}

/// What an open item with a text is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TextKind {
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
}

struct OpenCall {
    /// The index of the call among the calls.
    index: usize,
    is_custom: bool,
    id: String,
    at: usize,
    call: ToolCall,
}

impl Events {
    pub(super) fn new(model: String, echo: Echo, refusal: MoralRefusal) -> Self {
        Self {
            id: String::new(),
            ids: ItemIds::default(),
            model,
            echo,
            refusal,
            has_begun: false,
            sequence: 0,
            items: Vec::new(),
            open: None,
            counts: [0, 0],
            calls: Vec::new(),
            is_native: false,
        }
    }

    /// A frame with a sequence number.
    fn event(&mut self, name: &str, mut data: Value) -> String {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        named(name, &data)
    }

    /// An event with the response as it is.
    fn response(&mut self, name: &'static str, response: &impl Serialize) -> String {
        #[derive(Serialize)]
        struct Event<'a, R> {
            #[serde(rename = "type")]
            kind: &'static str,
            sequence_number: u64,
            response: &'a R,
        }
        let sequence_number = self.sequence;
        self.sequence += 1;
        named(name, &Event { kind: name, sequence_number, response })
    }

    /// The first events, unless they were written.
    fn start(&mut self) -> String {
        if std::mem::replace(&mut self.has_begun, true) {
            return String::new();
        }
        let begun = ResponseBody::begun(&self.id, &self.model, &self.echo);
        self.response("response.created", &begun) + &self.response("response.in_progress", &begun)
    }

    /// Begins an item.
    fn add_item(&mut self, item: &Value) -> (usize, String) {
        let at = self.items.len();
        self.items.push(None);
        let added = json!({"output_index": at, "item": item});
        (at, self.event("response.output_item.added", added))
    }

    fn end_item(&mut self, at: usize, item: Value) -> String {
        let done = json!({"output_index": at, "item": &item});
        if let Some(slot) = self.items.get_mut(at) {
            *slot = Some(item);
        }
        self.event("response.output_item.done", done)
    }

    /// A piece of a text, in an item that is opened if it is not open.
    fn text(&mut self, kind: TextKind, text: &str) -> String {
        let mut frames = self.start();
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
        self.open = Some(OpenText { kind, id, at, text: String::new() });
        added + &self.event(name, data)
    }

    /// Closes the open text, if there is one.
    fn close_text(&mut self) -> String {
        let Some(OpenText { kind, id, at, text }) = self.open.take() else { return String::new() };
        let mut done = json!({"item_id": id, "output_index": at});
        let mut ended = json!({"item_id": id, "output_index": at, "part": part(kind, &text)});
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
                (names, output::message(&id, "completed", &[part(kind, &text)]))
            }
            TextKind::Refusal => {
                done["refusal"] = json!(text);
                let names = ["response.refusal.done", "response.content_part.done"];
                (names, output::message(&id, "completed", &[part(kind, &text)]))
            }
        };
        let index = if kind == TextKind::Reasoning { "summary_index" } else { "content_index" };
        done[index] = json!(0);
        ended[index] = json!(0);
        let frames = self.event(names[0], done) + &self.event(names[1], ended);
        frames + &self.end_item(at, item)
    }

    /// A part of a call.
    fn tool_call(
        &mut self,
        index: usize,
        id: Option<&String>,
        name: Option<&String>,
        arguments: &str,
    ) -> String {
        let mut frames = self.start() + &self.close_text();
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

    /// The event that ends the stream.
    fn last(&mut self, response: &Fields) -> String {
        let status: Option<String> = response.read("status").ok().flatten();
        match status.as_deref() {
            Some("incomplete") => self.response("response.incomplete", response),
            _ => self.response("response.completed", response),
        }
    }

    /// An event of the provider, with the ids and the numbers of this stream.
    fn native(&mut self, event: &NativeEvent) -> String {
        let frames = self.start();
        if BEGINNING.contains(&event.name.as_str()) {
            return frames;
        }
        self.is_native = true;
        let Ok(mut data) = serde_json::from_str::<Fields>(&event.data) else { return frames };
        let at: usize = data.read("output_index").ok().flatten().unwrap_or_default();
        let renamed = |fields: &mut Fields, name: &str| {
            let id: Option<String> = fields.read(name).ok().flatten();
            if let Some(id) = id.and_then(|id| output::renamed(&self.id, at, &id)) {
                // a text always has a JSON form
                fields.set(name, &id).ok();
            }
        };
        renamed(&mut data, "item_id");
        let item: Option<Fields> = data.read("item").ok().flatten();
        if let Some(mut item) = item {
            renamed(&mut item, "id");
            data.set("item", &item).ok();
        }
        data.set("sequence_number", &self.sequence).ok();
        self.sequence += 1;
        frames + &named(&event.name, &data)
    }

    /// The items of a refusal.
    fn refuse(&mut self, answer: &Answer) -> String {
        let mut frames = self.text(TextKind::Refusal, answer.note) + &self.close_text();
        if !self.echo.is_formed() {
            frames.push_str(&self.text(TextKind::Message, &output::refusal_text(answer)));
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

impl stream::Dialect for Events {
    fn begin(&mut self, id: &str) {
        id.clone_into(&mut self.id);
        self.ids = ItemIds(id.to_owned());
    }

    fn piece(&mut self, piece: &Delta) -> String {
        match piece {
            // after events of the provider, only the last piece of an answer that is cut is none
            Delta::Text(_) | Delta::Reasoning(_) | Delta::ToolCall { .. } if self.is_native => {
                String::new()
            }
            // clients show nothing yet, but they know that the request was taken
            Delta::Begun => self.start(),
            Delta::Text(text) => self.text(TextKind::Message, text),
            Delta::Reasoning(text) => self.text(TextKind::Reasoning, text),
            Delta::ToolCall { index, id, name, arguments } => {
                self.tool_call(*index, id.as_ref(), name.as_ref(), arguments)
            }
            Delta::Native(event) => self.native(event),
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        let mut frames = self.start();
        if self.is_native {
            let response = response::ended(answer, &self.echo);
            return frames + &self.last(&response);
        }
        if answer.refusal().is_some() {
            frames.push_str(&self.refuse(answer));
        } else if self.items.is_empty() {
            frames.push_str(&self.text(TextKind::Message, &answer.response));
        }
        frames.push_str(&self.close_text());
        frames.push_str(&self.close_calls());
        let items = std::mem::take(&mut self.items).into_iter().flatten().collect();
        let response = ResponseBody::ended(answer, &self.echo, items);
        let name = match response.status() {
            "incomplete" => "response.incomplete",
            _ => "response.completed",
        };
        frames + &self.response(name, &response)
    }

    fn dialect(&self) -> Option<Dialect> {
        Some(Dialect::Responses)
    }

    fn rejection(&self, answer: &Answer) -> Option<Problem> {
        governance::rejection(answer, self.refusal)
    }

    /// Both events that end a stream: SDKs raise the first, Codex reads the second.
    fn fail(&mut self, problem: &Problem) -> String {
        let mut frames = self.start();
        let error = envelope::openai(problem, None)["error"].take();
        let (code, message) = (error["code"].clone(), error["message"].clone());
        let items = std::mem::take(&mut self.items).into_iter().flatten().collect();
        let begun = ResponseBody::begun(&self.id, &self.model, &self.echo);
        let failed = begun.failed(json!({"code": code, "message": message}), items);
        frames.push_str(&self.response("response.failed", &failed));
        let event = json!({
            "code": code, "message": message, "param": error["param"], "error": error,
        });
        frames + &self.event("error", event)
    }
}
