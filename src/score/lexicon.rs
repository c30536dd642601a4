//! The `lexicon` scorer: counts harmful and kind words.
//!
//! `value = 0.8 − 0.15·h + 0.05·k`, clamped to [0, 1], where `h` and `k` are the numbers of harmful
//! and kind words, repetitions included. It is the scorer of the original system and gives the same
//! bits. It does not consider meaning ("kill the process" counts as harmful), so it is a coarse
//! first filter.

/// The name of this scorer in the log.
pub const ID: &str = "lexicon";

/// The version; raised whenever any text scores differently.
pub const VERSION: u32 = 1;

const BASE: f64 = 0.8;
const HARMFUL_COST: f64 = 0.15;
const KIND_GAIN: f64 = 0.05;

const HARMFUL: [&str; 15] = [
    "hate",
    "violence",
    "attack",
    "kill",
    "destroy",
    "harm",
    "abuse",
    "exploit",
    "discriminate",
    "racist",
    "sexist",
    "terrorist",
    "weapon",
    "bomb",
    "murder",
];

const KIND: [&str; 15] = [
    "help",
    "support",
    "care",
    "love",
    "kind",
    "respect",
    "ethical",
    "fair",
    "honest",
    "trust",
    "safe",
    "protect",
    "collaborate",
    "peace",
    "understanding",
];

/// The score of a prompt and its components.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LexiconScore {
    /// The score, from 0 (harmful) to 1 (harmless).
    pub value: f64,
    /// The number of harmful words, repetitions included.
    pub harmful: u32,
    /// The number of kind words, repetitions included.
    pub kind: u32,
}

/// Scores a prompt by its whole words, ignoring case.
pub fn score(prompt: &str) -> LexiconScore {
    let (mut harmful, mut kind) = (0, 0);
    let mut word = String::new();
    for part in prompt.split(|c: char| !is_word_char(c)).filter(|part| !part.is_empty()) {
        word.clear();
        word.extend(part.chars().map(fold));
        harmful += u32::from(HARMFUL.contains(&word.as_str()));
        kind += u32::from(KIND.contains(&word.as_str()));
    }
    let value = BASE - f64::from(harmful) * HARMFUL_COST + f64::from(kind) * KIND_GAIN;
    LexiconScore { value: value.clamp(0.0, 1.0), harmful, kind }
}

/// True for characters that Python's `\w` matches as part of a word.
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Lower case as a case-insensitive regular expression sees it: besides `A-Z`, four letters
/// outside ASCII match one within.
fn fold(c: char) -> char {
    match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        '\u{130}' | '\u{131}' => 'i',
        _ => c.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        harmful_words: Vec<String>,
        kind_words: Vec<String>,
        rows: Vec<Row>,
    }

    #[derive(Deserialize)]
    struct Row {
        text: String,
        moral_value: f64,
    }

    #[test]
    fn equals_the_original_bit_for_bit() {
        let text = include_str!("../../tests/golden/text.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        assert_eq!((golden.harmful_words, golden.kind_words), (owned(HARMFUL), owned(KIND)));
        assert_eq!(golden.rows.len(), 45);
        for row in golden.rows {
            let actual = score(&row.text).value;
            assert_eq!(actual.to_bits(), row.moral_value.to_bits(), "{:?}: {actual}", row.text);
        }
    }

    fn owned(words: [&str; 15]) -> Vec<String> {
        words.map(str::to_owned).to_vec()
    }

    #[test]
    fn counts_whole_words_and_stays_in_range() {
        let mixed = score("Help! KILL, kill; pharmacy kill_switch \u{212a}ill");
        assert_eq!((mixed.harmful, mixed.kind), (3, 1));
        let value_bits = |word: &str| score(&word.repeat(100)).value.to_bits();
        assert_eq!(value_bits("bomb "), 0.0_f64.to_bits());
        assert_eq!(value_bits("love "), 1.0_f64.to_bits());
    }
}
