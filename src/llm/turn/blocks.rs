//! Blocks of text that clients add to the messages of their users.

use std::borrow::Cow;

/// Names of blocks: text between `<NAME>` and `</NAME>` is the client's, not the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientBlocks(Vec<[String; 2]>);

impl Default for ClientBlocks {
    /// The blocks of Claude Code and Codex.
    fn default() -> Self {
        Self::new(["system-reminder", "environment_context", "user_instructions"])
    }
}

impl ClientBlocks {
    /// Blocks with these names.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(|name| [format!("<{name}>"), format!("</{name}>")]).collect())
    }

    /// No blocks: all text is the user's.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The text without its blocks. A block that does not end is text of the user.
    pub(super) fn without<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for [open, close] in &self.0 {
            if text.contains(open) {
                text = Cow::Owned(cut(&text, open, close));
            }
        }
        text
    }
}

fn cut(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, block)) = rest.split_once(open) {
        let Some((_, after)) = block.split_once(close) else { break };
        kept.push_str(before);
        rest = after;
    }
    kept.push_str(rest);
    kept.trim().to_owned()
}
