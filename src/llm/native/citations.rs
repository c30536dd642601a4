//! Sources on the web that an answer names: annotations in the dialects of `OpenAI`, citations in that of
//! Anthropic. Other sources (documents and files of a request) have no form in another dialect.

use serde_json::value::RawValue;

use crate::llm::{Dialect, object::Object};

/// A source on the web, and the part of the answer's text that it supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// The address.
    pub url: String,
    /// The title; may be empty.
    pub title: String,
    /// The index of the first character of the supported text.
    pub start: usize,
    /// The index after its last character.
    pub end: usize,
}

/// The sources of an answer in this dialect.
pub(super) fn of(dialect: Dialect, message: &str) -> Option<Vec<Citation>> {
    let body = Object::parse(message)?;
    match dialect {
        Dialect::OpenAi => {
            let choices: Vec<Object<'_>> = body.read("choices")?;
            let message = choices.first()?.object("message")?;
            let given: Vec<Object<'_>> = message.read("annotations")?;
            Some(
                given
                    .iter()
                    .filter_map(|one| annotation(&one.object("url_citation")?, 0))
                    .collect(),
            )
        }
        Dialect::Responses => {
            let items: Vec<Object<'_>> = body.read("output")?;
            let parts = items.iter().filter(|item| item.text("type").as_deref() == Some("message"));
            let parts = parts.filter_map(|item| item.read::<Vec<Object<'_>>>("content")).flatten();
            let (mut citations, mut before) = (Vec::new(), 0);
            for part in parts {
                let given: Option<Vec<Object<'_>>> = part.read("annotations");
                let given = given.into_iter().flatten().filter(is_web);
                citations.extend(given.filter_map(|one| annotation(&one, before)));
                let text = part.text("text").or_else(|| part.text("refusal"));
                before += text.map_or(0, |text| text.chars().count());
            }
            Some(citations)
        }
        Dialect::Anthropic => {
            let (mut citations, mut before) = (Vec::new(), 0);
            for block in body.read::<Vec<Object<'_>>>("content")? {
                let Some(text) = block.text("text") else { continue };
                let (start, end) = (before, before + text.chars().count());
                let given: Option<Vec<Object<'_>>> = block.read("citations");
                let given = given.into_iter().flatten().filter(is_web);
                citations.extend(given.filter_map(|one| {
                    let title = one.text("title").unwrap_or_default();
                    Some(Citation { url: one.text("url")?, title, start, end })
                }));
                before = end;
            }
            Some(citations)
        }
    }
}

fn annotation(fields: &Object<'_>, before: usize) -> Option<Citation> {
    let index = |name: &str| before.saturating_add(fields.read(name).unwrap_or_default());
    Some(Citation {
        url: fields.text("url")?,
        title: fields.text("title").unwrap_or_default(),
        start: index("start_index"),
        end: index("end_index"),
    })
}

fn is_web(source: &Object<'_>) -> bool {
    match source.text("type").as_deref() {
        Some("url_citation") => source.get("url").is_some() || source.get("url_citation").is_some(),
        Some("web_search_result_location") => source.get("url").is_some(),
        _ => false,
    }
}

/// True for a field of sources that all have a form in another dialect.
pub(super) fn has_form(name: &str, value: &RawValue) -> bool {
    matches!(name, "annotations" | "citations")
        && serde_json::from_str::<Vec<Object<'_>>>(value.get())
            .is_ok_and(|sources| sources.iter().all(is_web))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn citation(start: usize, end: usize) -> Citation {
        let (url, title) = ("https://cats.example".to_owned(), "Cats".to_owned());
        Citation { url, title, start, end }
    }

    #[test]
    fn sources_are_read_in_every_dialect() {
        let chat = r#"{"choices":[{"message":{"annotations":[{"type":"url_citation","url_citation":
            {"url":"https://cats.example","title":"Cats","start_index":1,"end_index":4}}]}}]}"#;
        assert_eq!(of(Dialect::OpenAi, chat).unwrap(), [citation(1, 4)]);
        let response = r#"{"output":[{"type":"reasoning"},{"type":"message","content":[
            {"type":"output_text","text":"Ö!","annotations":[]},
            {"type":"output_text","text":"cats","annotations":[{"type":"file_citation"},
            {"type":"url_citation","url":"https://cats.example","title":"Cats","start_index":0,
            "end_index":4}]}]}]}"#;
        assert_eq!(of(Dialect::Responses, response).unwrap(), [citation(2, 6)]);
        let message = r#"{"content":[{"type":"text","text":"Ö!"},{"type":"text","text":"cats",
            "citations":[{"type":"char_location"},{"type":"web_search_result_location",
            "url":"https://cats.example","title":"Cats","encrypted_index":"e"}]}]}"#;
        assert_eq!(of(Dialect::Anthropic, message).unwrap(), [citation(2, 6)]);
    }

    #[test]
    fn a_field_with_a_source_of_another_kind_has_no_form() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let web = r#"{"type":"url_citation","url":"https://cats.example"}"#;
        assert!(has_form("annotations", &raw(&format!("[{web}]"))));
        assert!(!has_form("annotations", &raw(&format!(r#"[{web},{{"type":"file_path"}}]"#))));
        assert!(!has_form("logprobs", &raw("[]")));
    }
}
