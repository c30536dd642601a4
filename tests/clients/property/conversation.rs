//! Valid conversations and their JSON texts. Texts are written by hand, so that the order of keys, the
//! escapes and the white space differ from what a serializer writes.

use mlsdm::testkit::strict::{Face, signature};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// JSON texts of strings: with escapes that a serializer would not write.
const TEXTS: [&str; 8] = [
    r#""Thank you, friend""#,
    r#""Plain \u00e9 and é""#,
    r#""A pair \ud83d\ude00 and 😀""#,
    r#""Path a\/b""#,
    r#""Line\none\ttwo""#,
    r#""Quote \" and \\ back""#,
    r#""שלום и привет""#,
    r#""Zero\u200bwidth""#,
];

/// JSON texts of arguments of tools.
const ARGUMENTS: [&str; 4] =
    ["{}", r#"{"z":1.0,"a":[1,2e3]}"#, r#"{ "city" : "Rome" }"#, r#"{"n":{"b":null,"a":-0.0}}"#];

/// A part of a user message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Text(&'static str),
    Image,
}

/// A user message, rounds of tools, and the text that ends it; the last turn has no such text.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    parts: Vec<Part>,
    whole: bool,
    rounds: Vec<Round>,
    answer: &'static str,
}

/// Parallel calls of tools with their results.
#[derive(Clone, Debug)]
struct Round {
    says: Option<&'static str>,
    calls: Vec<(usize, &'static str, &'static str)>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    turns: Vec<Turn>,
    content: Content,
    form: Form,
    fields: Vec<usize>,
}

/// What it has beside its turns.
#[derive(Clone, Copy, Debug)]
struct Content {
    system: bool,
    thinks: bool,
}

/// White space between the tokens of the JSON text, and whether the answer is streamed.
#[derive(Clone, Copy, Debug)]
struct Form {
    spaced: bool,
    streams: bool,
}

pub(crate) fn conversation() -> impl Strategy<Value = Conversation> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (vec(turn(), 1..4), flags, vec(0..8_usize, 0..4)).prop_map(
        |(turns, (system, thinks, spaced, streams), mut fields)| {
            fields.sort_unstable();
            fields.dedup();
            let (content, form) = (Content { system, thinks }, Form { spaced, streams });
            Conversation { turns, content, form, fields }
        },
    )
}

fn turn() -> impl Strategy<Value = Turn> {
    let text = || select(&TEXTS[..]);
    let part = prop_oneof![3 => text().prop_map(Part::Text), 1 => Just(Part::Image)];
    let call = (0..2_usize, select(&ARGUMENTS[..]), text());
    let round = (option::of(text()), vec(call, 1..4));
    let round = round.prop_map(|(says, calls)| Round { says, calls });
    (text(), vec(part, 0..3), any::<bool>(), vec(round, 0..3), text()).prop_map(
        |(first, mut parts, whole, rounds, answer)| {
            parts.insert(0, Part::Text(first));
            Turn { parts, whole, rounds, answer }
        },
    )
}

/// Writes objects and lists with or without white space.
struct Writer {
    spaced: bool,
}

impl Writer {
    fn object(&self, fields: &[(&str, String)]) -> String {
        let colon = if self.spaced { " : " } else { ":" };
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect();
        self.wrap('{', &fields, '}')
    }

    fn list(&self, items: &[String]) -> String {
        self.wrap('[', items, ']')
    }

    fn wrap(&self, open: char, items: &[String], close: char) -> String {
        let (comma, pad) = if self.spaced { (" ,\n ", "  ") } else { (",", "") };
        format!("{open}{pad}{}{pad}{close}", items.join(comma))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Conversation {
    /// The body of a request.
    pub(crate) fn body(&self, face: Face, model: &str) -> String {
        let w = Writer { spaced: self.form.spaced };
        let mut fields = self.own_fields(face);
        fields.push(("model", quoted(model)));
        if self.form.streams {
            fields.push(("stream", "true".to_owned()));
        }
        let (name, items) = match face {
            Face::Chat => ("messages", self.chat(&w)),
            Face::Messages => ("messages", self.messages(&w)),
            Face::Responses => ("input", self.responses(&w)),
        };
        fields.push((name, w.list(&items)));
        if self.turns.iter().any(|turn| !turn.rounds.is_empty()) {
            fields.push(("tools", tools(face)));
        }
        // the fields that a serializer would sort come in another order
        fields.reverse();
        w.object(&fields)
    }

    fn own_fields(&self, face: Face) -> Vec<(&'static str, String)> {
        let chosen: &[(&str, &str)] = match face {
            Face::Chat => &CHAT,
            Face::Messages => &MESSAGES,
            Face::Responses => &RESPONSES,
        };
        let mut fields: Vec<(&str, String)> =
            self.fields.iter().map(|at| (chosen[*at].0, chosen[*at].1.to_owned())).collect();
        if face == Face::Messages {
            fields.push(("max_tokens", "64000".to_owned()));
            if self.content.system {
                fields.push(("system", SYSTEM.to_owned()));
            }
            if self.content.thinks {
                fields.retain(|(name, _)| !["temperature", "top_k"].contains(name));
                fields.push(("thinking", r#"{"budget_tokens":31999,"type":"enabled"}"#.to_owned()));
            }
        }
        fields
    }

    /// The id of a call: the numbers of its turn, round and place.
    fn id(turn: usize, round: usize, call: usize) -> String {
        format!("call_{turn}_{round}_{call}")
    }

    fn chat(&self, w: &Writer) -> Vec<String> {
        let role = |name: &str| ("role", quoted(name));
        let mut messages = Vec::new();
        if self.content.system {
            messages.push(w.object(&[("content", TEXTS[1].to_owned()), role("developer")]));
        }
        for (t, turn) in self.turns.iter().enumerate() {
            let image = r#"{"image_url":{"url":"data:image/png;base64,iVBORw0KGgo=","detail":"low"},"type":"image_url"}"#;
            messages.push(w.object(&[("content", turn.content(w, "text", image)), role("user")]));
            for (r, round) in turn.rounds.iter().enumerate() {
                let calls = round.calls.iter().enumerate().map(|(c, (tool, arguments, _))| {
                    let function =
                        w.object(&[("name", name(*tool)), ("arguments", quoted(arguments))]);
                    let id = quoted(&Self::id(t, r, c));
                    w.object(&[("type", quoted("function")), ("id", id), ("function", function)])
                });
                let calls = w.list(&calls.collect::<Vec<_>>());
                let says = round.says.unwrap_or("null").to_owned();
                messages.push(w.object(&[
                    ("tool_calls", calls),
                    ("content", says),
                    role("assistant"),
                ]));
                for (c, (_, _, result)) in round.calls.iter().enumerate() {
                    let id = quoted(&Self::id(t, r, c));
                    let fields = [("content", (*result).to_owned()), ("tool_call_id", id)];
                    messages.push(w.object(&[fields[0].clone(), fields[1].clone(), role("tool")]));
                }
            }
            if t + 1 < self.turns.len() {
                messages.push(w.object(&[("content", turn.answer.to_owned()), role("assistant")]));
            }
        }
        messages
    }

    fn messages(&self, w: &Writer) -> Vec<String> {
        let message =
            |role: &str, content: String| w.object(&[("role", quoted(role)), ("content", content)]);
        let mut messages = Vec::new();
        for (t, turn) in self.turns.iter().enumerate() {
            let image = r#"{"source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="},"type":"image"}"#;
            messages.push(message("user", turn.content(w, "text", image)));
            for (r, round) in turn.rounds.iter().enumerate() {
                let mut blocks = Vec::new();
                if self.content.thinks {
                    let signed = quoted(&signature("I think."));
                    blocks.push(format!(
                        r#"{{"signature":{signed},"type":"thinking","thinking":"I think."}}"#
                    ));
                }
                if let Some(says) = round.says {
                    blocks.push(format!(r#"{{"type":"text","text":{says}}}"#));
                }
                let mut results = Vec::new();
                for (c, (tool, arguments, result)) in round.calls.iter().enumerate() {
                    let (id, tool) = (quoted(&Self::id(t, r, c)), name(*tool));
                    blocks.push(format!(
                        r#"{{"type":"tool_use","name":{tool},"input":{arguments},"id":{id}}}"#
                    ));
                    results.push(format!(
                        r#"{{"type":"tool_result","tool_use_id":{id},"content":{result}}}"#
                    ));
                }
                messages.push(message("assistant", w.list(&blocks)));
                messages.push(message("user", w.list(&results)));
            }
            if t + 1 < self.turns.len() {
                messages.push(message("assistant", turn.answer.to_owned()));
            }
        }
        messages
    }

    fn responses(&self, w: &Writer) -> Vec<String> {
        let mut items = Vec::new();
        for (t, turn) in self.turns.iter().enumerate() {
            let image = r#"{"type":"input_image","detail":"auto","image_url":"data:image/png;base64,iVBORw0KGgo="}"#;
            let content = turn.content(w, "input_text", image);
            items.push(w.object(&[("content", content), ("role", quoted("user"))]));
            for (r, round) in turn.rounds.iter().enumerate() {
                if let Some(says) = round.says {
                    items.push(format!(
                        r#"{{"role":"assistant","content":[{{"type":"output_text","text":{says}}}]}}"#
                    ));
                }
                for (c, (tool, arguments, _)) in round.calls.iter().enumerate() {
                    let (id, tool) = (quoted(&Self::id(t, r, c)), name(*tool));
                    let arguments = quoted(arguments);
                    items.push(format!(
                        r#"{{"type":"function_call","name":{tool},"call_id":{id},"arguments":{arguments}}}"#
                    ));
                }
                for (c, (_, _, result)) in round.calls.iter().enumerate() {
                    let id = quoted(&Self::id(t, r, c));
                    items.push(format!(
                        r#"{{"type":"function_call_output","output":{result},"call_id":{id}}}"#
                    ));
                }
            }
            if t + 1 < self.turns.len() {
                let answer = turn.answer;
                items.push(format!(r#"{{"role":"assistant","content":{answer}}}"#));
            }
        }
        items
    }
}

impl Turn {
    /// The content of its user message: a string if it is one text.
    fn content(&self, w: &Writer, text: &str, image: &str) -> String {
        if let ([Part::Text(only)], true) = (&self.parts[..], self.whole) {
            return (*only).to_owned();
        }
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(value) => format!(r#"{{"text":{value},"type":"{text}"}}"#),
            Part::Image => image.to_owned(),
        });
        w.list(&parts.collect::<Vec<_>>())
    }
}

fn name(tool: usize) -> String {
    quoted(["weather", "z-tool_2"][tool])
}

fn tools(face: Face) -> String {
    let tool = |tool: usize| {
        let (name, schema) = (name(tool), SCHEMA);
        match face {
            Face::Chat => format!(
                r#"{{"type":"function","function":{{"parameters":{schema},"name":{name},"description":"d"}}}}"#
            ),
            Face::Messages => {
                format!(r#"{{"name":{name},"input_schema":{schema},"description":"d"}}"#)
            }
            Face::Responses => format!(
                r#"{{"type":"function","strict":false,"parameters":{schema},"name":{name}}}"#
            ),
        }
    };
    format!("[{},{}]", tool(0), tool(1))
}

const SCHEMA: &str = r#"{"type":"object","properties":{"reasoning":{"type":"string"},"answer":{"enum":["b","a"],"type":"string"}},"required":["reasoning"]}"#;

const SYSTEM: &str = r#"[{"text":"Be brief.","type":"text"},{"type":"text","text":"Be kind.","cache_control":{"type":"ephemeral"}}]"#;

const CHAT: [(&str, &str); 8] = [
    ("temperature", "0.70"),
    ("top_p", "9e-1"),
    ("seed", "7"),
    ("max_tokens", "100000"),
    ("stop", r#"["END" ,"\u0041"]"#),
    ("metadata", r#"{"z":"1","a":"2"}"#),
    ("prompt_cache_key", r#""k-1""#),
    ("logit_bias", r#"{"9":1,"10":-1.50}"#),
];

const MESSAGES: [(&str, &str); 8] = [
    ("temperature", "0.70"),
    ("top_k", "40"),
    ("stop_sequences", r#"["END" ,"\u0041"]"#),
    ("service_tier", r#""auto""#),
    ("inference_geo", r#""us""#),
    ("cache_control", r#"{"ttl":"1h","type":"ephemeral"}"#),
    ("output_config", r#"{"effort":"low"}"#),
    ("speed", r#""standard""#),
];

const RESPONSES: [(&str, &str); 8] = [
    ("temperature", "0.70"),
    ("top_p", "9e-1"),
    ("instructions", r#""Be a friend""#),
    ("max_output_tokens", "100000"),
    ("metadata", r#"{"z":"1","a":"2"}"#),
    ("prompt_cache_key", r#""k-1""#),
    ("text", r#"{"verbosity":"low","format":{"type":"text"}}"#),
    ("truncation", r#""auto""#),
];
