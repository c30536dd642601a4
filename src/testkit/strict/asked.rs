//! What a script sees of a request.

use serde_json::Value;

/// An API of a model provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Face {
    /// `POST /v1/chat/completions` of OpenAI.
    Chat,
    /// `POST /v1/messages` of Anthropic.
    Messages,
    /// `POST /v1/responses` of OpenAI.
    Responses,
}

impl Face {
    pub(super) const fn call_prefix(self) -> &'static str {
        match self {
            Self::Chat | Self::Responses => "call",
            Self::Messages => "toolu",
        }
    }
}

/// A valid request.
pub struct Asked<'a> {
    /// The API.
    pub face: Face,
    /// The body; a response with `previous_response_id` has the earlier items in `input`.
    pub body: &'a Value,
    /// The body as it arrived.
    pub raw: &'a [u8],
    /// The number of turns of the assistant in the conversation.
    pub turn: usize,
    /// The number of turns of the assistant after the last text of the user.
    pub round: usize,
    /// The last text of the user: its last part, without a context that the server put before it.
    pub prompt: String,
    /// The texts of the results of tools after the last turn of the assistant.
    pub results: Vec<String>,
}

/// A message or an item, reduced to what counts turns.
enum Item {
    User(String),
    Assistant,
    Result(String),
    Other,
}

impl<'a> Asked<'a> {
    pub(super) fn new(face: Face, body: &'a Value, raw: &'a [u8]) -> Self {
        let mut asked =
            Self { face, body, raw, turn: 0, round: 0, prompt: String::new(), results: Vec::new() };
        let mut speaks = false;
        for item in items(face, body) {
            let assistant = matches!(item, Item::Assistant);
            match item {
                Item::User(text) => {
                    asked.round = 0;
                    asked.prompt = text;
                }
                // the items of one turn follow each other
                Item::Assistant if speaks && face == Face::Responses => {}
                Item::Assistant => {
                    asked.turn += 1;
                    asked.round += 1;
                    asked.results.clear();
                }
                Item::Result(text) => asked.results.push(text),
                Item::Other => {}
            }
            speaks = assistant;
        }
        asked
    }

    /// The names of the tools that the request offers.
    pub fn tools(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().into_iter().flatten();
        tools
            .filter_map(|tool| tool["name"].as_str().or_else(|| tool["function"]["name"].as_str()))
            .collect()
    }

    /// True if the answer has to follow a JSON schema.
    pub fn has_schema(&self) -> bool {
        let formats = [
            &self.body["response_format"],
            &self.body["text"]["format"],
            &self.body["output_config"]["format"],
        ];
        formats.iter().any(|format| format["type"] == "json_schema")
    }

    /// True if the answer is streamed.
    pub fn streams(&self) -> bool {
        self.body["stream"] == true
    }

    /// The name of the model.
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }
}

fn items(face: Face, body: &Value) -> Vec<Item> {
    match face {
        Face::Chat => list(&body["messages"]).iter().map(chat).collect(),
        Face::Messages => list(&body["messages"]).iter().flat_map(messages).collect(),
        Face::Responses => body["input"].as_str().map_or_else(
            || list(&body["input"]).iter().map(responses).collect(),
            |_| vec![Item::User(prompt(&body["input"]))],
        ),
    }
}

fn chat(message: &Value) -> Item {
    match message["role"].as_str() {
        Some("user") => Item::User(prompt(&message["content"])),
        Some("assistant") => Item::Assistant,
        Some("tool") => Item::Result(text(&message["content"])),
        _ => Item::Other,
    }
}

fn messages(message: &Value) -> Vec<Item> {
    match message["role"].as_str() {
        Some("user") => {
            let results = list(&message["content"]).iter();
            let results: Vec<Item> = results
                .filter(|block| block["type"] == "tool_result")
                .map(|block| Item::Result(text(&block["content"])))
                .collect();
            // a text beside results is a reminder of the client
            if results.is_empty() { vec![Item::User(prompt(&message["content"]))] } else { results }
        }
        Some("assistant") => vec![Item::Assistant],
        _ => Vec::new(),
    }
}

fn responses(item: &Value) -> Item {
    match (item["type"].as_str(), item["role"].as_str()) {
        (Some("message") | None, Some("user")) => Item::User(prompt(&item["content"])),
        (Some("message") | None, Some("assistant"))
        | (Some("reasoning" | "function_call" | "custom_tool_call"), _) => Item::Assistant,
        (Some("function_call_output" | "custom_tool_call_output"), _) => {
            Item::Result(text(&item["output"]))
        }
        _ => Item::Other,
    }
}

/// The elements of a list; none if it is something else.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn prompt(content: &Value) -> String {
    let mut texts = list(content).iter().filter_map(|part| part["text"].as_str());
    let last = content.as_str().or_else(|| texts.next_back()).unwrap_or_default();
    last.rsplit("</remembered>").next().unwrap_or_default().trim_start().to_owned()
}

/// The text of a string or of the parts of a list, joined.
pub(super) fn text(content: &Value) -> String {
    content.as_str().map_or_else(
        || list(content).iter().filter_map(|part| part["text"].as_str()).collect(),
        str::to_owned,
    )
}
