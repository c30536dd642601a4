//! Events of a streamed response.

mod items;

use serde_json::json;

use super::{
    echo::Echo,
    output,
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
    llm::{Delta, Dialect, NativeEvent},
};
use items::{Items, TextKind};

/// Events of a provider that this server writes itself.
const BEGINNING: [&str; 3] = ["response.created", "response.in_progress", "response.queued"];

/// Writes a stream of the Responses API. The event `response.completed` (or `response.incomplete`) has
/// the governance of the step (`mlsdm`); a stream without it is incomplete.
pub(super) struct Events {
    /// The server's id of the request; set by `begin`.
    id: String,
    model: String,
    refusal: MoralRefusal,
    has_begun: bool,
    items: Items,
    /// True if the provider's events are passed on.
    is_native: bool,
}

impl Events {
    pub(super) fn new(model: String, echo: Echo, refusal: MoralRefusal) -> Self {
        let (id, items) = (String::new(), Items::new(echo));
        Self { id, model, refusal, has_begun: false, items, is_native: false }
    }

    /// The response before it has output.
    fn begun(&self) -> ResponseBody {
        ResponseBody::begun(&self.id, &self.model, self.items.echo())
    }

    /// The first events, unless they were written.
    fn start(&mut self) -> String {
        if std::mem::replace(&mut self.has_begun, true) {
            return String::new();
        }
        let begun = self.begun();
        let created = self.items.response("response.created", &begun);
        created + &self.items.response("response.in_progress", &begun)
    }

    /// The event that ends the stream.
    fn last(&mut self, response: &Fields) -> String {
        let status: Option<String> = response.read("status").ok().flatten();
        match status.as_deref() {
            Some("incomplete") => self.items.response("response.incomplete", response),
            _ => self.items.response("response.completed", response),
        }
    }

    /// An event of the provider, with the ids and the numbers of this stream.
    fn native(&mut self, event: &NativeEvent) -> String {
        if BEGINNING.contains(&event.name.as_str()) {
            return String::new();
        }
        self.is_native = true;
        let Ok(mut data) = serde_json::from_str::<Fields>(&event.data) else {
            return String::new();
        };
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
        data.set("sequence_number", &self.items.number()).ok();
        named(&event.name, &data)
    }

    /// The items of a refusal.
    fn refuse(&mut self, answer: &Answer) -> String {
        let refusal = self.items.text(TextKind::Refusal, answer.note);
        let frames = refusal + &self.items.close_text();
        if self.items.echo().is_formed() {
            return frames;
        }
        frames + &self.items.text(TextKind::Message, &output::refusal_text(answer))
    }
}

impl stream::Dialect for Events {
    fn begin(&mut self, id: &str) {
        id.clone_into(&mut self.id);
        self.items.begin(id);
    }

    fn piece(&mut self, piece: &Delta) -> String {
        // clients show nothing yet, but they know that the request was taken
        let frames = self.start();
        match piece {
            Delta::Begun => frames,
            Delta::Native(event) => frames + &self.native(event),
            // after events of the provider, only the last piece of an answer that is cut is none
            Delta::Text(_) | Delta::Reasoning(_) | Delta::ToolCall { .. } if self.is_native => {
                frames
            }
            Delta::Text(text) => frames + &self.items.text(TextKind::Message, text),
            Delta::Reasoning(text) => frames + &self.items.text(TextKind::Reasoning, text),
            Delta::ToolCall { index, id, name, arguments } => {
                frames + &self.items.tool_call(*index, id.as_ref(), name.as_ref(), arguments)
            }
        }
    }

    fn end(&mut self, answer: &Answer) -> String {
        let mut frames = self.start();
        if self.is_native {
            let response = response::ended(answer, self.items.echo());
            return frames + &self.last(&response);
        }
        if answer.refusal().is_some() {
            frames.push_str(&self.refuse(answer));
        } else if self.items.is_empty() {
            frames.push_str(&self.items.text(TextKind::Message, &answer.response));
        }
        let annotations = output::annotations(answer);
        let has_sources = !annotations.is_empty();
        let annotated = self.items.annotate(annotations);
        let lost = (has_sources && annotated.is_none()).then_some("citations");
        frames.push_str(&annotated.unwrap_or_default());
        frames.push_str(&self.items.close());
        let items = self.items.take();
        let response = ResponseBody::ended(answer, self.items.echo(), items).without(lost);
        let name = match response.status() {
            "incomplete" => "response.incomplete",
            _ => "response.completed",
        };
        frames + &self.items.response(name, &response)
    }

    fn dialect(&self) -> Option<Dialect> {
        Some(Dialect::Responses)
    }

    fn rejection(&self, answer: &Answer) -> Option<Problem> {
        governance::rejection(answer, self.refusal)
    }

    /// Both events that end a stream: SDKs raise the second, Codex reads the first.
    fn fail(&mut self, problem: &Problem) -> String {
        let frames = self.start();
        let error = envelope::openai(problem, None)["error"].take();
        let (code, message) = (error["code"].clone(), error["message"].clone());
        let failed = json!({"code": code, "message": message});
        let failed = self.begun().failed(failed, self.items.take());
        let frames = frames + &self.items.response("response.failed", &failed);
        let event = json!({
            "code": code, "message": message, "param": error["param"], "error": error,
        });
        frames + &self.items.event("error", event)
    }
}
