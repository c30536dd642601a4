//! Splits a long text into windows that overlap, so that its worst part counts and no word is cut.

/// Longest window in bytes.
pub(super) const WINDOW_BYTES: usize = 8_192;

/// The bytes that a window shares with the one before.
const OVERLAP_BYTES: usize = 512;

/// The windows of a text. A text of up to [`WINDOW_BYTES`] bytes is one window.
pub(super) fn windows(text: &str) -> impl Iterator<Item = &str> {
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let rest = &text[from..];
        if rest.len() <= WINDOW_BYTES {
            start = None;
            return Some(rest);
        }
        let end = from + boundary(&rest[..floor(rest, WINDOW_BYTES)]);
        let next = text[from..end].floor_char_boundary(end - from - OVERLAP_BYTES);
        // the window after a text without white space begins where this one ends
        let next = from + next + word_start(&text[from + next..end]);
        start = Some(next);
        Some(&text[from..end])
    })
}

fn floor(text: &str, index: usize) -> usize {
    text.floor_char_boundary(index)
}

/// The end of the last whole word; the length of a text that has none in its last part.
fn boundary(text: &str) -> usize {
    let part = floor(text, text.len() - OVERLAP_BYTES);
    text[part..].rfind(char::is_whitespace).map_or(text.len(), |index| part + index)
}

/// The start of the first word that begins in the text.
fn word_start(text: &str) -> usize {
    text.find(char::is_whitespace).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_one_window() {
        assert_eq!(windows("").collect::<Vec<_>>(), [""]);
        let text = "x".repeat(WINDOW_BYTES);
        assert_eq!(windows(&text).collect::<Vec<_>>(), [text.as_str()]);
    }

    #[test]
    fn every_word_of_a_long_text_is_whole_in_a_window() {
        let words: Vec<String> = (0..9_000).map(|n| format!("wörd{n}")).collect();
        let text = words.join(" ");
        let found: Vec<&str> = windows(&text).collect();
        assert!(found.len() > 8 && found.iter().all(|window| window.len() <= WINDOW_BYTES));
        let seen: std::collections::BTreeSet<&str> =
            found.iter().flat_map(|window| window.split_whitespace()).collect();
        assert_eq!(seen.len(), words.len(), "no word is missing and no part of a word is one");
    }

    #[test]
    fn a_text_without_white_space_is_covered() {
        for unit in ["x", "ö", "\u{1f600}"] {
            let text = unit.repeat(3 * WINDOW_BYTES);
            let found: Vec<&str> = windows(&text).collect();
            assert_eq!(found.concat(), text);
        }
    }
}
