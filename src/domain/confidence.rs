//! The confidence in an answer, computed from its wording.
//!
//! The rules are those of the original Python system and give the same bits, including Python's
//! definitions of white space, lines and lower case. They consider the form of an answer only, not
//! its truth.

use std::collections::{HashMap, HashSet};

/// The confidence of a blank answer.
pub const BLANK_CONFIDENCE: f64 = 0.1;

/// Phrases that express doubt; each one present lowers the confidence once.
const DOUBT: [&str; 11] = [
    "i think",
    "maybe",
    "probably",
    "might be",
    "i'm not sure",
    "possibly",
    "could be",
    "perhaps",
    "seems like",
    "appears to",
    "likely",
];
const DOUBT_PENALTY: f64 = 0.1;

const SHORT_WORDS: usize = 10;
const SHORT_PENALTY: f64 = 0.2;

const REPETITION_FREE: f64 = 0.3;
const REPETITION_PENALTY: f64 = 0.3;

const LOOP_TOKENS_MIN: usize = 18;
const LOOP_REPETITION: f64 = 0.45;
const LOOP_RUN: usize = 4;
const LOOP_LINES_MIN: usize = 4;
const LOOP_LINE_SHARE: f64 = 0.5;

/// True if the answer consists of white space only.
pub fn is_blank(answer: &str) -> bool {
    answer.chars().all(is_space)
}

/// The confidence `c` of an answer, in [0, 1]; [`BLANK_CONFIDENCE`] for a blank one.
///
/// `c = 1 − 0.1·d − 0.2·[w < 10] − 0.3·r·[r > 0.3]`, clamped to [0, 1], where `d` is the number of
/// distinct phrases of doubt, `w` the number of words, and `r` the fraction of words that repeat an
/// earlier word.
pub fn confidence(answer: &str) -> f64 {
    if is_blank(answer) {
        return BLANK_CONFIDENCE;
    }
    let lower = answer.to_lowercase();
    let mut confidence = 1.0;
    for _ in DOUBT.iter().filter(|words| lower.contains(**words)) {
        confidence -= DOUBT_PENALTY;
    }
    let words: Vec<&str> = answer.split(is_space).filter(|word| !word.is_empty()).collect();
    if words.len() < SHORT_WORDS {
        confidence -= SHORT_PENALTY;
    }
    let repetition = repetition(&words);
    if repetition > REPETITION_FREE {
        confidence -= REPETITION_PENALTY * repetition;
    }
    confidence.clamp(0.0, 1.0)
}

/// True if the answer repeats itself: it has at least 18 tokens, and either at least 45 % of them
/// repeat an earlier token, or one token occurs four times in a row, or one line makes up half of
/// at least four non-blank lines.
pub fn is_looping(answer: &str) -> bool {
    let lower = answer.to_lowercase();
    let tokens = tokens(&lower);
    tokens.len() >= LOOP_TOKENS_MIN
        && (repetition(&tokens) >= LOOP_REPETITION
            || longest_run(&tokens) >= LOOP_RUN
            || line_share(answer) >= LOOP_LINE_SHARE)
}

/// Splits into runs of `a-z`, `0-9` and `'`.
fn tokens(lower: &str) -> Vec<&str> {
    let within = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '\'';
    lower.split(|c| !within(c)).filter(|token| !token.is_empty()).collect()
}

/// The fraction of words that repeat an earlier word; 0 without words.
fn repetition(words: &[&str]) -> f64 {
    if words.is_empty() {
        return 0.0;
    }
    let distinct: HashSet<&str> = words.iter().copied().collect();
    1.0 - distinct.len() as f64 / words.len() as f64
}

fn longest_run(tokens: &[&str]) -> usize {
    tokens.chunk_by(|a, b| a == b).map(<[&str]>::len).max().unwrap_or(0)
}

/// The fraction of non-blank lines equal to the most frequent one; 0 for fewer than four lines.
fn line_share(answer: &str) -> f64 {
    let lines: Vec<&str> = answer
        .split(is_line_end)
        .map(|line| line.trim_matches(is_space))
        .filter(|line| !line.is_empty())
        .collect();
    if lines.len() < LOOP_LINES_MIN {
        return 0.0;
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for &line in &lines {
        *counts.entry(line).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0) as f64 / lines.len() as f64
}

/// White space as defined by Python's `str.split`: Unicode white space and the four ASCII
/// separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Line ends as defined by Python's `str.splitlines`.
fn is_line_end(c: char) -> bool {
    let ascii = ('\n'..='\r').contains(&c) || ('\x1c'..='\x1e').contains(&c);
    ascii || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests;
