//! The fenced blocks of a Markdown document, and the commands in those of a shell.

use std::{fs, mem};

use crate::path;

/// A fenced block.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
}

/// The text of a file of the repository.
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced blocks of a document.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for line in text(document).lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block { language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{document}: a block is not closed");
    found
}

/// The commands in the blocks `sh` of a document, each with its continuation lines. Blocks `bash` are lists of
/// variables.
pub(crate) fn commands(document: &str) -> Vec<String> {
    let shell = |block: &&Block| block.language == "sh";
    blocks(document).iter().filter(shell).flat_map(|block| split(&block.text)).collect()
}

/// The commands of a script.
fn split(script: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in script.lines() {
        command.push_str(line);
        if is_open(&command) {
            command.push('\n');
            continue;
        }
        let done = mem::take(&mut command);
        let bare = done.trim();
        if !bare.is_empty() && !bare.starts_with('#') {
            commands.push(bare.to_owned());
        }
    }
    assert!(command.is_empty(), "a command is not complete: {command}");
    commands
}

/// True if a command goes on in the next line: it ends with a backslash, or a quotation is open.
fn is_open(command: &str) -> bool {
    let (mut quote, mut before) = (None, ' ');
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '#') if before == ' ' || before == '\n' => {
                // a comment ends with its line
                characters.by_ref().find(|character| *character == '\n');
            }
            // a backslash takes the next character along
            (None | Some('"'), '\\') if characters.next().is_none() => return true,
            (None | Some('"'), '\\') => {}
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), character) if open == character => quote = None,
            _ => {}
        }
        before = character;
    }
    // in the next line a pipe goes on
    quote.is_some() || command.trim_end().ends_with('|')
}

#[test]
fn commands_are_split_as_a_shell_does() {
    let script =
        "a 'b # \"' # it's a comment\n# only a comment\nb() { c \\\n  d; }\n\ne \"f\ng\" h\\\"";
    assert_eq!(
        split(script),
        ["a 'b # \"' # it's a comment", "b() { c \\\n  d; }", "e \"f\ng\" h\\\""]
    );
}
