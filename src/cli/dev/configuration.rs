//! `deploy/CONFIGURATION.md`: every setting, from `src/config/default.toml` and the named variables.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::markdown::{generated_from, paragraph, push_line};
use crate::config::{DEFAULT_TOML, NAMED_VARIABLES, SECRETS};

/// The document.
pub(super) fn document() -> anyhow::Result<String> {
    let defaults: Value = toml::from_str(DEFAULT_TOML)?;
    let mut out = String::from("# Configuration\n\n");
    out.push_str(&generated_from("src/config/default.toml"));
    let mut comment: Vec<&str> = Vec::new();
    let mut section = String::new();
    for line in DEFAULT_TOML.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            push_line(&mut out, &format!("\n## `[{section}]`"));
            push_line(&mut out, "");
            if !comment.is_empty() {
                paragraph(&mut out, "", "", &comment.join(" "));
                out.push('\n');
            }
            comment.clear();
        } else if line.is_empty() {
            if section.is_empty() {
                introduction(&mut out, &comment);
            }
            comment.clear();
        } else {
            let (name, default) = line.split_once(" = ").context(line)?;
            let key = format!("{section}.{name}");
            ensure!(!comment.is_empty(), "{key} has no comment in src/config/default.toml");
            let value = defaults.pointer(&format!("/{}", key.replace('.', "/")));
            setting(&mut out, &key, default, value.with_context(|| key.clone())?, &comment);
            comment.clear();
        }
    }
    Ok(out)
}

/// The comment at the start of the file: paragraphs, and indented lists as they are.
fn introduction(out: &mut String, comment: &[&str]) {
    // the first paragraph describes the file itself
    for part in comment.split(|line| line.is_empty()).skip(1) {
        out.push('\n');
        let (text, list): (Vec<&str>, Vec<&str>) =
            part.iter().partition(|line| !line.starts_with("  "));
        if list.is_empty() {
            paragraph(out, "", "", &text.join(" "));
            continue;
        }
        let at = part.iter().position(|line| line.starts_with("  ")).unwrap_or_default();
        let (before, after) = text.split_at(at.min(text.len()));
        paragraph(out, "", "", &before.join(" "));
        push_line(out, "\n```text");
        for line in list {
            push_line(out, line.strip_prefix("  ").unwrap_or(line));
        }
        push_line(out, "```");
        if !after.is_empty() {
            out.push('\n');
            paragraph(out, "", "", &after.join(" "));
        }
    }
}

fn setting(out: &mut String, key: &str, default: &str, value: &Value, comment: &[&str]) {
    let kind = match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Array(_) => "list",
        Value::String(_) | Value::Null | Value::Object(_) => "string",
    };
    let secret = if SECRETS.contains(&key) { ", secret" } else { "" };
    let default = if default == "\"\"" { "not set".to_owned() } else { format!("`{default}`") };
    let names = NAMED_VARIABLES.iter().filter(|(_, named)| is_same(named, key));
    let names: Vec<_> = names.map(|(name, _)| format!("`{name}`")).collect();
    let variable = if names.is_empty() { String::new() } else { format!("; {}", names.join(", ")) };
    let facts = format!("{kind}{secret}; default {default}{variable}");
    paragraph(out, &format!("- **`{key}`** ("), "  ", &format!("{facts})"));
    paragraph(out, "  ", "  ", &comment.join(" "));
}

/// Named variables may set a shorthand: `mlsdm.capacity` for `mlsdm.policy.capacity`.
fn is_same(named: &str, key: &str) -> bool {
    let short = named.strip_prefix("mlsdm.");
    named == key
        || short.is_some_and(|short| {
            key.strip_prefix("mlsdm.policy.").is_some_and(|rest| {
                rest == short || rest.strip_suffix(short).is_some_and(|start| start.ends_with('.'))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_variable_and_every_default_is_documented() {
        let text = document().unwrap();
        for (name, key) in NAMED_VARIABLES {
            assert!(text.contains(&format!("`{name}`")), "{name} of {key}");
        }
        let keys =
            DEFAULT_TOML.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
        assert_eq!(text.matches("- **`").count(), keys.count());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
